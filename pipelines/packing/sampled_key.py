"""Sampled key: which shard a trajectory belongs to by its items, learnt from a sample by the same bisection."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines.packing.compiled import compiled
from pipelines.packing.graph import Graph, Pins
from pipelines.packing.grouping import social_hash_order
from pipelines.packing.shard import IntArray

_FULLER = 1.05  # a shard may take this much of its share


@dataclass(frozen=True, slots=True)
class SampledKey:
    """How many of each shard's sample hold each item; items that one sampled trajectory alone holds tell nothing.

    Tasks are sent it, and Spark Connect takes 128 MiB at most: only pairs that are held stand in it.
    """

    row: IntArray  # (R,) item rows, ascending
    shards: int
    item: NDArray[np.int32]  # (pairs,) of a shard and an item that it holds: the item as an index into row
    shard: NDArray[np.int32]  # (pairs,)
    holders: NDArray[np.int32]  # (pairs,) trajectories of the shard's sample that hold the item

    @classmethod
    def learnt(cls, sample: Graph, *, shards: int, seed: int) -> SampledKey:
        """From a sample in time order: its bisection into as many parts as there will be shards."""
        size = max(1, -(-sample.trajectories // shards))
        order = social_hash_order(sample, np.arange(sample.trajectories), batch=size, superblock=1, seed=seed)
        parts = [sample.taken(order[shard * size : (shard + 1) * size]) for shard in range(shards)]
        item = np.concatenate([np.searchsorted(sample.row, part.row) for part in parts])
        shard = np.repeat(np.arange(shards), [part.items for part in parts])
        holders = np.concatenate([np.bincount(part.item, minlength=part.items) for part in parts])
        telling = np.bincount(item, holders, minlength=sample.items) > 1
        number, kept = np.cumsum(telling) - 1, telling[item]
        pairs = (array[kept].astype(np.int32) for array in (number[item], shard, holders))
        return cls(sample.row[telling], shards, *pairs)

    def assigned(self, graph: Graph) -> IntArray:
        """The shard of each trajectory (B,), none above its share: where most of its items are held already.

        The counts learn as trajectories are taken in, one after another.
        """
        rows = np.union1d(self.row, graph.row)
        holders = np.zeros((self.shards, len(rows)), np.int32)
        holders[self.shard, np.searchsorted(rows, self.row)[self.item]] = self.holders
        number = np.searchsorted(rows, graph.row)[graph.item]
        most = int(np.ceil(_FULLER * graph.trajectories / len(holders)))
        return _assigned(Pins(graph.start, number, len(rows)), holders, most)


@compiled
def _assigned(pins: Pins, holders: NDArray[np.int32], most: int) -> IntArray:
    """Each to the shard that has most of its items' holders, in shares: what all shards hold alike decides nothing."""
    found = np.empty(len(pins.start) - 1, np.int64)
    taken = np.zeros(len(holders), np.int64)
    everywhere = holders.sum(axis=0)
    for u in range(len(found)):
        own = pins.item[pins.start[u] : pins.start[u + 1]]
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
