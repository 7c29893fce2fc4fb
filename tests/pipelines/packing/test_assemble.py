from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipelines.packing.assemble import FACTS, assemble, facts_of
from pipelines.packing.shard import Shard
from schemas.packed_batch import check_arrays

# A click: its row, how many clicks its target may see, its candidates.
Click = tuple[int, int, list[int]]
row = st.integers(1, 30)
click = st.tuples(row, st.integers(0, 3), st.lists(row, max_size=4))
ROWS = 31  # of the token table


def seeing_only_earlier(users: list[list[Click]]) -> list[list[Click]]:
    """The same clicks; no target sees itself or what came later."""
    return [[(row, min(prefix, at), lists) for at, (row, prefix, lists) in enumerate(user)] for user in users]


users = st.lists(st.lists(click, min_size=1, max_size=6), min_size=1, max_size=8).map(seeing_only_earlier)


def shard_of(users: list[list[Click]]) -> Shard:
    clicks = [click for user in users for click in user]
    return Shard(
        click_start=np.cumsum([0, *map(len, users)]),
        click_row=np.array([row for row, _, _ in clicks], np.int32),
        prefix=np.array([prefix for _, prefix, _ in clicks], np.int32),
        weight=np.array([bool(candidates) for _, _, candidates in clicks], np.float32),
        logged=np.array([bool(candidates) for _, _, candidates in clicks]),
        candidate_start=np.cumsum([0, *(len(candidates) for _, _, candidates in clicks)]),
        candidate_row=np.array([each for _, _, candidates in clicks for each in candidates], np.int32),
    )


def read_back(arrays: dict[str, np.ndarray]) -> list[list[Click]]:
    """The trajectories that a batch holds, by its masks and slots alone."""
    items = arrays["item_row_N"]
    found = []
    for b, length in enumerate(arrays["click_mask_BL"].sum(axis=1)):
        masks, slots = arrays["target_mask_BLK"][b], arrays["target_slot_BLK"][b]
        rows = items[arrays["click_slot_BL"][b]].tolist()
        prefix = arrays["prefix_BL"][b].tolist()
        found.append([(rows[at], prefix[at], items[slots[at][masks[at]]].tolist()) for at in range(length)])
    return found


@given(users=users, cut=st.integers(0, 8))
def test_two_batches_hold_every_trajectory_once_and_their_slots_point_at_the_right_rows(
    users: list[list[Click]], cut: int
) -> None:
    shard, cut = shard_of(users), min(cut, len(users))
    ranges = [(start, stop) for start, stop in ((0, cut), (cut, len(users))) if start < stop]
    batches = [assemble(shard, *ends, batch_id=number) for number, ends in enumerate(ranges)]
    assert [user for batch in batches for user in read_back(batch)] == users
    for number, batch in enumerate(batches):
        check_arrays(batch, "here", rows=ROWS)
        assert batch["batch_id"] == number
        assert (np.diff(batch["item_row_N"]) > 0).all()
        used = [each for user in read_back(batch) for row, _, candidates in user for each in (row, *candidates)]
        assert set(batch["item_row_N"].tolist()) == set(used)


def test_padding_is_zero_masked_and_without_weight() -> None:
    batch = assemble(shard_of([[(5, 0, [5, 9, 7])], [(3, 0, []), (5, 1, [5, 3])]]), 0, 2, batch_id=4)
    expected = {
        "item_row_N": [3, 5, 7, 9],
        "click_slot_BL": [[1, 0], [0, 1]],
        "click_mask_BL": [[True, False], [True, True]],
        "target_slot_BLK": [[[1, 3, 2], [0, 0, 0]], [[0, 0, 0], [1, 0, 0]]],
        "target_mask_BLK": [[[True] * 3, [False] * 3], [[False] * 3, [True, True, False]]],
        "prefix_BL": [[0, 0], [0, 1]],
        "label_BL": [[-1, -1], [-1, -1]],
        "weight_BL": [[1.0, 0.0], [0.0, 1.0]],
        "logged_BL": [[True, False], [False, True]],
        "target_count": [2],
        "weight_sum": [2.0],
    }
    assert {name: batch[name].tolist() for name in expected} == expected


def test_facts_count_what_the_manifest_promises() -> None:
    batch = assemble(shard_of([[(5, 0, [5, 9, 7])], [(3, 0, []), (5, 1, [5, 3])]]), 0, 2, batch_id=0)
    assert facts_of(batch) == {
        "trajectories": 2,
        "targets": 2,
        "weights": 2.0,
        "items": 4,
        "clicks": 3,
        "item_occurrences": 3 + 5,
        "items_per_target_sample": (0 + 3) + (1 + 2),
    }
    assert tuple(facts_of(batch)) == FACTS
