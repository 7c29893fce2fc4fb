"""The cost of an order of trajectories: items that an epoch encodes, with and without a cache."""

from __future__ import annotations

import numpy as np

from pipelines.packing.compiled import compiled
from pipelines.packing.graph import Graph, Pins, items_of
from pipelines.packing.shard import IntArray


def distinct_items(graph: Graph, order: IntArray, starts: IntArray) -> IntArray:
    """Distinct items of each batch; batch i holds order[starts[i]] up to order[starts[i + 1]]."""
    return _distinct_items(graph.pins, order, starts)


def count_encodes(graph: Graph, order: IntArray, starts: IntArray, line: IntArray, *, max_age: int) -> int:
    """Items that one epoch encodes with a cache, one batch a step: those whose vector is older than `max_age` steps.

    `line` is the order in which the epoch reads the batches.
    """
    return _count_encodes(graph.pins, order, starts, line, max_age)


def training_batch_order(batches: int, *, superblock: int, seed: int) -> IntArray:
    """Batches in training order: superblocks are shuffled, the batches within each keep their order."""
    shuffled = np.random.default_rng(seed).permutation(-(-batches // superblock))
    return np.concatenate([np.arange(n * superblock, min(batches, (n + 1) * superblock)) for n in shuffled])


def configuration_model(graph: Graph, *, seed: int) -> Graph:
    """A random graph with the same lengths and item popularities: the configuration model without double edges.

    Pins are shuffled over all trajectories. A pin whose trajectory already holds its item is swapped with a random
    other pin until no such pin is left.
    """
    rng = np.random.default_rng(seed)
    item = rng.permutation(graph.item)
    owner = np.repeat(np.arange(graph.trajectories), graph.lengths)
    for _ in range(1000):
        pairs = owner * graph.items + item
        by_pair = np.argsort(pairs, kind="stable")
        twice = by_pair[1:][np.diff(pairs[by_pair]) == 0]
        if not len(twice):
            break
        other = rng.choice(len(item), len(twice), replace=False)
        other, twice = other[~np.isin(other, twice)], twice[~np.isin(other, twice)]
        item[twice], item[other] = item[other], item[twice]
    assert len(np.unique(owner * graph.items + item)) == len(item), "a trajectory holds an item twice"
    return Graph(start=graph.start, item=item, items=graph.items, row=graph.row)


@compiled
def _distinct_items(pins: Pins, order: IntArray, starts: IntArray) -> IntArray:
    seen = np.full(pins.items, -1, np.int64)
    count = np.zeros(len(starts) - 1, np.int64)
    for batch in range(len(count)):
        for b in order[starts[batch] : starts[batch + 1]]:
            for item in items_of(pins, b):
                if seen[item] != batch:
                    seen[item] = batch
                    count[batch] += 1
    return count


@compiled
def _count_encodes(pins: Pins, order: IntArray, starts: IntArray, line: IntArray, max_age: int) -> int:
    encoded = np.full(pins.items, -max_age - 1, np.int64)
    count = 0
    for step in range(len(line)):
        for b in order[starts[line[step]] : starts[line[step] + 1]]:
            for item in items_of(pins, b):
                if step - encoded[item] > max_age:
                    encoded[item] = step
                    count += 1
    return count
