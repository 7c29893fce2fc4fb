"""Quality: what an order of trajectories costs: items encoded per epoch, with and without a cache, and how even."""

from __future__ import annotations

import numpy as np

from pipelines.packing.compiled import compiled
from pipelines.packing.graph import Graph, Pins
from pipelines.packing.shard import IntArray


def distinct_items(graph: Graph, order: IntArray, starts: IntArray) -> IntArray:
    """Distinct items of each batch; batch i holds order[starts[i]] up to order[starts[i + 1]]."""
    return _distinct_items(graph.pins, order, starts)


def encodes(graph: Graph, order: IntArray, starts: IntArray, line: IntArray, *, max_age: int) -> int:
    """Items encoded by one epoch with a cache, p = 1, one batch a step: unless younger than `max_age` + 1 steps.

    `line` is the order in which the epoch walks the batches.
    """
    return _encodes(graph.pins, order, starts, line, max_age)


def training_line(batches: int, *, superblock: int, seed: int) -> IntArray:
    """Batches in the order that training sees: superblocks shuffled, each from its first batch to its last."""
    shuffled = np.random.default_rng(seed).permutation(-(-batches // superblock))
    return np.concatenate([np.arange(n * superblock, min(batches, (n + 1) * superblock)) for n in shuffled])


def redrawn(graph: Graph, *, seed: int) -> Graph:
    """A graph with the same lengths and the same popularity of each item, and no other structure: pins drawn anew.

    Pins are shuffled over all trajectories; where one meets its item twice, that pin is swapped with a random other
    until it does not (the configuration model without double edges).
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
    assert len(np.unique(owner * graph.items + item)) == len(item), "an item stands twice in one trajectory"
    return Graph(start=graph.start, item=item, items=graph.items, row=graph.row)


@compiled
def _distinct_items(pins: Pins, order: IntArray, starts: IntArray) -> IntArray:
    seen = np.full(pins.items, -1, np.int64)
    count = np.zeros(len(starts) - 1, np.int64)
    for batch in range(len(count)):
        for b in order[starts[batch] : starts[batch + 1]]:
            for item in pins.item[pins.start[b] : pins.start[b + 1]]:
                if seen[item] != batch:
                    seen[item] = batch
                    count[batch] += 1
    return count


@compiled
def _encodes(pins: Pins, order: IntArray, starts: IntArray, line: IntArray, max_age: int) -> int:
    encoded = np.full(pins.items, -max_age - 1, np.int64)
    count = 0
    for step in range(len(line)):
        for b in order[starts[line[step]] : starts[line[step] + 1]]:
            for item in pins.item[pins.start[b] : pins.start[b + 1]]:
                if step - encoded[item] > max_age:
                    encoded[item] = step
                    count += 1
    return count
