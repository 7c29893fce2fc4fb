from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.packing.budget import cut, distinct_pins, superblock_size
from pipelines.packing.shard import Shard

# A trajectory: its clicks, each with its candidates.
Clicks = list[tuple[int, list[int]]]
row = st.integers(1, 12)
trajectories = st.lists(st.lists(st.tuples(row, st.lists(row, max_size=3)), min_size=1, max_size=5), max_size=20)


def shard_of(users: list[Clicks]) -> Shard:
    clicks = [click for user in users for click in user]
    return Shard(
        click_start=np.cumsum([0, *map(len, users)]),
        click_row=np.array([click for click, _ in clicks], np.int32),
        prefix=np.zeros(len(clicks), np.int32),
        weight=np.array([bool(candidates) for _, candidates in clicks], np.float32),
        logged=np.ones(len(clicks), np.bool_),
        candidate_start=np.cumsum([0, *(len(candidates) for _, candidates in clicks)]),
        candidate_row=np.array([each for _, candidates in clicks for each in candidates], np.int32),
    )


def items_of(users: list[Clicks]) -> set[int]:
    return {each for user in users for click, candidates in user for each in (click, *candidates)}


def greedy(users: list[Clicks], batch_trajectories: int, batch_items: int) -> list[int]:
    """The rule, one trajectory at a time."""
    starts, batch = [0], []
    for number, user in enumerate(users):
        if batch and (len(batch) == batch_trajectories or len(items_of([*batch, user])) > batch_items):
            starts, batch = [*starts, number], []
        batch.append(user)
    return [*starts, len(users)] if users else [0]


@given(users=trajectories, batch_trajectories=st.integers(1, 6), batch_items=st.integers(1, 15))
def test_batches_are_cut_where_one_more_trajectory_would_pass_a_budget(
    users: list[Clicks], batch_trajectories: int, batch_items: int
) -> None:
    starts = cut(shard_of(users), batch_trajectories=batch_trajectories, batch_items=batch_items).tolist()
    assert starts == greedy(users, batch_trajectories, batch_items)
    for start, stop in itertools.pairwise(starts):
        assert 1 <= stop - start <= batch_trajectories
        assert stop - start == 1 or len(items_of(users[start:stop])) <= batch_items


@given(users=trajectories)
def test_pins_are_the_distinct_items_of_each_trajectory(users: list[Clicks]) -> None:
    starts, rows = distinct_pins(shard_of(users))
    found = [rows[start:stop].tolist() for start, stop in itertools.pairwise(starts)]
    assert found == [sorted(items_of([user])) for user in users]


@pytest.mark.parametrize(
    ("batches", "wanted", "size"),
    [(1000, 24, 24), (192, 24, 24), (191, 24, 23), (40, 24, 5), (8, 24, 1), (3, 24, 1), (0, 24, 1), (1000, 2, 2)],
)
def test_superblocks_shrink_until_a_data_set_has_eight(batches: int, wanted: int, size: int) -> None:
    assert superblock_size(batches, wanted=wanted) == size
