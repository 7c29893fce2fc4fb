"""Social-hash bisection gives a permutation of low cost, even sides on request, and the same order every time."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.packing import grouping
from pipelines.packing.graph import Graph
from pipelines.packing.grouping import social_hash_order
from pipelines.packing.quality import distinct_items
from pipelines.packing.shard import IntArray
from tests.pipelines.packing.graphs import fixed, graphs, items_of, topical


def cost(graph: Graph, order: IntArray, batch: int) -> int:
    return int(distinct_items(graph, order, fixed(len(order), batch)).sum())


def first_of(graph: Graph) -> IntArray:
    return np.arange(graph.trajectories)


@given(graph=graphs, batch=st.integers(1, 9), superblock=st.integers(1, 4), even=st.booleans(), seed=st.integers(0, 99))
def test_every_trajectory_occurs_once(graph: Graph, batch: int, superblock: int, even: bool, seed: int) -> None:
    order = social_hash_order(graph, first_of(graph), batch=batch, superblock=superblock, even=even, seed=seed)
    assert np.sort(order).tolist() == list(range(graph.trajectories))
    again = social_hash_order(graph, first_of(graph), batch=batch, superblock=superblock, even=even, seed=seed)
    assert order.tolist() == again.tolist()


@given(graph=graphs, seed=st.integers(0, 99))
def test_gains_equal_the_formula(graph: Graph, seed: int) -> None:
    part = np.random.default_rng(seed).permutation(graph.trajectories)
    on_right = np.random.default_rng(seed + 1).random(len(part)) < 0.5
    holders, number = np.zeros(graph.items, np.int32), np.full(graph.items, -1, np.int32)
    pins = grouping._shared_pins(graph.pins, part, holders, number)
    assert (holders == 0).all()  # restored
    assert (number == -1).all()
    held = np.zeros((2, pins.items), np.int32)
    for u in range(len(part)):
        held[int(on_right[u]), pins.item[pins.start[u] : pins.start[u + 1]]] += 1
    found = grouping._move_gains(pins, grouping.Sides(on_right, held))
    sides = [[items_of(graph, part[u]) for u in range(len(part)) if on_right[u] == side] for side in (False, True)]
    for u in range(len(part)):
        own, other = sides[int(on_right[u])], sides[1 - int(on_right[u])]
        expected = 0.0
        for item in items_of(graph, part[u]):
            here, there = sum(item in each for each in own), sum(item in each for each in other)
            expected += 0.7 ** (here - 1) - 0.7**there
        assert found[u] / (1 << 20) == pytest.approx(expected, abs=1e-4)


def test_topics_are_found_with_and_without_even_sides() -> None:
    graph = topical(1200)
    drawn = cost(graph, np.random.default_rng(0).permutation(graph.trajectories), 32)
    assert cost(graph, social_hash_order(graph, first_of(graph), batch=32, superblock=4), 32) < 0.6 * drawn
    even = social_hash_order(graph, first_of(graph), batch=32, superblock=4, even=True)
    assert cost(graph, even, 32) < 0.65 * drawn


def test_sides_are_kept_even_from_an_uneven_start() -> None:
    graph = topical(1024)
    by_length = np.argsort(graph.lengths, kind="stable")

    def spread(even: bool) -> float:
        order = social_hash_order(graph, by_length, batch=32, superblock=4, even=even)
        pins = graph.lengths[order].reshape(-1, 32).sum(axis=1)
        return float(pins.max() / pins.mean())

    assert spread(even=True) < 1.15 < 1.3 < spread(even=False)


def test_superblocks_are_subtrees() -> None:
    """Aligned subtrees give fewer items per superblock than a tree that ignores superblocks."""
    graph = topical(1320)
    aligned, free = (
        social_hash_order(graph, first_of(graph), batch=12, superblock=size, seed=3) for size in (10, 1000)
    )
    assert cost(graph, aligned, 120) < cost(graph, free, 120)


@pytest.mark.parametrize(("trajectories", "left"), [(1, 1), (4, 4), (5, 4), (12, 8), (13, 12), (48, 24), (49, 36)])
def test_the_left_side_is_complete_batches_and_complete_superblocks(trajectories: int, left: int) -> None:
    assert grouping._left_size(trajectories, batch=4, superblock=3) == left
