"""The figures of packing equal slow, obvious counts."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.packing.graph import Graph
from pipelines.packing.quality import configuration_model, count_encodes, distinct_items, training_batch_order
from tests.pipelines.packing.graphs import fixed, graphs, items_of, slow_sum, topical


@given(graph=graphs, batch=st.integers(1, 9), seed=st.integers(0, 9))
def test_distinct_items_are_counted_batch_by_batch(graph: Graph, batch: int, seed: int) -> None:
    order = np.random.default_rng(seed).permutation(graph.trajectories)
    starts = fixed(len(order), batch)
    if len(order):
        assert distinct_items(graph, order, starts).tolist() == slow_sum(graph, order, starts)


@given(graph=graphs, batch=st.integers(1, 9), superblock=st.integers(1, 4), max_age=st.integers(0, 6))
def test_a_cache_encodes_what_is_too_old(graph: Graph, batch: int, superblock: int, max_age: int) -> None:
    order = np.arange(graph.trajectories)
    starts = fixed(len(order), batch)
    if not len(order):
        return
    line = training_batch_order(len(starts) - 1, superblock=superblock, seed=1)
    encoded: dict[int, int] = {}
    count = 0
    for step, number in enumerate(line):
        for item in set().union(*(items_of(graph, u) for u in order[starts[number] : starts[number + 1]])):
            if item not in encoded or step - encoded[item] > max_age:
                encoded[item] = step
                count += 1
    assert count_encodes(graph, order, starts, line, max_age=max_age) == count
    if max_age == 0:
        assert count == distinct_items(graph, order, starts).sum()


def test_training_reads_complete_superblocks_in_another_order() -> None:
    line = training_batch_order(10, superblock=4, seed=1)
    assert sorted(line.tolist()) == list(range(10))
    blocks = [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert line.tolist() in [[*a, *b, *c] for a, b, c in itertools.permutations(blocks)]
    assert len({tuple(training_batch_order(10, superblock=4, seed=seed).tolist()) for seed in range(20)}) > 3


@pytest.mark.parametrize("seed", range(3))
def test_a_redrawn_graph_keeps_lengths_and_popularity_and_nothing_else(seed: int) -> None:
    graph = topical(300)
    drawn = configuration_model(graph, seed=seed)
    assert drawn.lengths.tolist() == graph.lengths.tolist()
    assert np.bincount(drawn.item).tolist() == np.bincount(graph.item).tolist()
    assert all(len(items_of(drawn, u)) == graph.lengths[u] for u in range(300))
    kept = np.mean([len(items_of(drawn, u) & items_of(graph, u)) / graph.lengths[u] for u in range(300)])
    assert kept < 0.15
