"""Budget: where an ordered shard is cut into packed batches."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipelines.packing.compiled import compiled
from pipelines.packing.graph import Graph
from pipelines.packing.shard import IntArray

UNLIMITED = np.iinfo(np.int64).max


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """What a batch may hold, at most."""

    trajectories: int
    items: int = UNLIMITED  # distinct
    tokens: int = UNLIMITED  # of the distinct items' text


def cut(graph: Graph, order: IntArray, budget: Budget, tokens_V: IntArray | None = None) -> IntArray:
    """Starts of the batches, the end included: batch i holds order[starts[i]] up to order[starts[i + 1]].

    A batch ends where one more trajectory would pass a budget; a trajectory that alone passes one gets a batch of its
    own. `tokens_V` are the tokens of each item row.
    """
    tokens = np.zeros(graph.items, np.int64) if tokens_V is None else tokens_V[graph.row].astype(np.int64)
    return _cut(graph.start, graph.item, order, tokens, budget.trajectories, budget.items, budget.tokens)


@compiled
def _cut(
    start: IntArray, item: IntArray, order: IntArray, tokens: IntArray,
    most_trajectories: int, most_items: int, most_tokens: int,
) -> IntArray:  # fmt: skip
    seen = np.full(len(tokens), -1, np.int64)
    starts = [0]
    held_items, held_tokens = 0, 0
    for place in range(len(order)):
        u = order[place]
        for attempt in range(2):
            more_items, more_tokens = 0, 0
            for at in range(start[u], start[u + 1]):
                if seen[item[at]] != starts[-1]:
                    more_items += 1
                    more_tokens += tokens[item[at]]
            fits = held_items + more_items <= most_items and held_tokens + more_tokens <= most_tokens
            if attempt == 1 or place == starts[-1] or (fits and place - starts[-1] < most_trajectories):
                break
            starts.append(place)
            held_items, held_tokens = 0, 0
        held_items += more_items
        held_tokens += more_tokens
        for at in range(start[u], start[u + 1]):
            seen[item[at]] = starts[-1]
    if len(order):
        starts.append(len(order))
    return np.array(starts)


def superblock_size(batches: int, *, wanted: int, superblocks_at_least: int = 8) -> int:
    """Batches per superblock: as wanted, but small enough that a data set has several superblocks to shuffle."""
    return max(1, min(wanted, batches // superblocks_at_least))
