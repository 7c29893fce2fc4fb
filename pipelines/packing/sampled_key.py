"""Assigns trajectories to shards by their items, after the bisection of a sample."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines.packing.compiled import compiled
from pipelines.packing.graph import Graph, Pins, items_of
from pipelines.packing.grouping import social_hash_order
from pipelines.packing.shard import IntArray

_MAX_SHARE = 1.05  # of the trajectories of an equal share, per shard


@dataclass(frozen=True, slots=True)
class SampledKey:
    """The number of sampled trajectories of each shard that hold each item. Items of a single one carry no information.

    Every task receives it, and Spark Connect sends 128 MiB at most: it stores only pairs with a count above 0.
    """

    row: IntArray  # (R,) item rows, ascending
    shards: int
    item: NDArray[np.int32]  # (pairs,) index into row
    shard: NDArray[np.int32]  # (pairs,)
    holders: NDArray[np.int32]  # (pairs,) sampled trajectories of the shard that hold the item

    @classmethod
    def learn(cls, sample: Graph, *, shards: int, seed: int) -> SampledKey:
        """The key of a sample in time order, bisected into one part per shard."""
        size = max(1, -(-sample.trajectories // shards))
        order = social_hash_order(sample, np.arange(sample.trajectories), batch=size, superblock=1, seed=seed)
        parts = [sample.subgraph(order[shard * size : (shard + 1) * size]) for shard in range(shards)]
        item = np.concatenate([np.searchsorted(sample.row, part.row) for part in parts])
        shard = np.repeat(np.arange(shards), [part.items for part in parts])
        holders = np.concatenate([np.bincount(part.item, minlength=part.items) for part in parts])
        informative = np.bincount(item, holders, minlength=sample.items) > 1
        number, kept = np.cumsum(informative) - 1, informative[item]
        pairs = (array[kept].astype(np.int32) for array in (number[item], shard, holders))
        return cls(sample.row[informative], shards, *pairs)

    def assign(self, graph: Graph) -> IntArray:
        """The shard of each trajectory (B,): the one that holds most of its items and is not full.

        Trajectories are assigned one after another, and each adds its items to the counts of its shard.
        """
        rows = np.union1d(self.row, graph.row)
        holders = np.zeros((self.shards, len(rows)), np.int32)
        holders[self.shard, np.searchsorted(rows, self.row)[self.item]] = self.holders
        number = np.searchsorted(rows, graph.row)[graph.item]
        most = int(np.ceil(_MAX_SHARE * graph.trajectories / len(holders)))
        return _assign(Pins(graph.start, number, len(rows)), holders, most)


@compiled
def _assign(pins: Pins, holders: NDArray[np.int32], most: int) -> IntArray:
    """Each trajectory goes to the shard with the largest sum of its items' shares of holders. An item that all shards
    hold equally adds the same to each."""
    found = np.empty(len(pins.start) - 1, np.int64)
    taken = np.zeros(len(holders), np.int64)
    everywhere = holders.sum(axis=0)
    for u in range(len(found)):
        own = items_of(pins, u)
        best, best_score = -1, -1.0
        for shard in range(len(holders)):
            score = 0.0
            for item in own:
                score += holders[shard, item] / (1.0 + everywhere[item])
            if taken[shard] < most and score > best_score:
                best, best_score = shard, score
        found[u] = best
        taken[best] += 1
        for item in own:
            holders[best, item] += 1
            everywhere[item] += 1
    return found
