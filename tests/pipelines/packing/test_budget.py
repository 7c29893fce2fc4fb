from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.packing.budget import Budget, cut_batches, superblock_size
from pipelines.packing.graph import Graph
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


def greedy(users: list[Clicks], budget: Budget, tokens_V: np.ndarray) -> list[int]:
    """The rule, one trajectory at a time."""

    def fits(batch: list[Clicks]) -> bool:
        items = items_of(batch)
        within = len(items) <= budget.items and sum(tokens_V[row] for row in items) <= budget.tokens
        return len(batch) <= budget.trajectories and within

    starts, batch = [0], []
    for number, user in enumerate(users):
        if batch and not fits([*batch, user]):
            starts, batch = [*starts, number], []
        batch.append(user)
    return [*starts, len(users)] if users else [0]


@given(
    users=trajectories,
    most_trajectories=st.integers(1, 6),
    most_items=st.integers(1, 15),
    most_tokens=st.integers(1, 90),
    seed=st.integers(0, 9),
)
def test_batches_are_cut_where_one_more_trajectory_would_pass_a_budget(
    users: list[Clicks], most_trajectories: int, most_items: int, most_tokens: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    order, tokens_V = rng.permutation(len(users)), rng.integers(1, 12, 13)
    budget = Budget(trajectories=most_trajectories, items=most_items, tokens=most_tokens)
    found = cut_batches(Graph.from_shard(shard_of(users)), order, budget, tokens_V).tolist()
    in_order = [users[u] for u in order]
    assert found == greedy(in_order, budget, tokens_V)
    for start, stop in itertools.pairwise(found):
        items = items_of(in_order[start:stop])
        assert 1 <= stop - start <= most_trajectories
        assert stop - start == 1 or (len(items) <= most_items and tokens_V[list(items)].sum() <= most_tokens)


@pytest.mark.parametrize(
    ("batches", "wanted", "size"),
    [(1000, 24, 24), (192, 24, 24), (191, 24, 23), (40, 24, 5), (8, 24, 1), (3, 24, 1), (0, 24, 1), (1000, 2, 2)],
)
def test_superblocks_shrink_until_a_data_set_has_eight(batches: int, wanted: int, size: int) -> None:
    assert superblock_size(batches, wanted=wanted) == size
