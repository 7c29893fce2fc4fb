"""Graphs for tests of packing: random ones with some structure, and the slow, obvious count of what an order costs."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import strategies as st

from pipelines.packing.graph import Graph
from pipelines.packing.shard import IntArray


def graph_of(trajectories: list[list[int]]) -> Graph:
    """The graph of each trajectory's item rows."""
    rows = np.array([row for each in trajectories for row in each], np.int64)
    return Graph.from_rows(np.cumsum([0, *map(len, trajectories)]), rows)


def items_of(graph: Graph, trajectory: int) -> set[int]:
    """Item rows of one trajectory."""
    return set(graph.row[graph.item[graph.start[trajectory] : graph.start[trajectory + 1]]].tolist())


def topical(trajectories: int, *, topics: int = 12, items: int = 40, seed: int = 0) -> Graph:
    """Users of one topic each, whose lengths differ much: an order that finds the topics halves the items."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(trajectories):
        own = rng.integers(topics) * items + 1 + rng.integers(0, items, rng.integers(2, 25))
        found.append(sorted({*own.tolist(), *(1 + rng.integers(0, topics * items, 3)).tolist()}))
    return graph_of(found)


def slow_sum(graph: Graph, order: IntArray, starts: IntArray) -> list[int]:
    """Distinct items of each batch."""
    batches = itertools.pairwise(starts)
    return [len(set().union(*(items_of(graph, u) for u in order[a:b]))) for a, b in batches]


def fixed(trajectories: int, batch: int) -> IntArray:
    """Starts of batches of one size, the last one shorter."""
    return np.append(np.arange(0, trajectories, batch), trajectories)


trajectory = st.lists(st.integers(1, 30), max_size=8, unique=True)
graphs = st.lists(trajectory, max_size=60).map(graph_of)
