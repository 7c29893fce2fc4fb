"""Cuts an ordered shard into batches within a budget of trajectories, items and tokens."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np

from pipelines.packing.compiled import compiled
from pipelines.packing.graph import Graph, Pins, items_of
from pipelines.packing.shard import IntArray

UNLIMITED = np.iinfo(np.int64).max


class TokenCounts(Protocol):
    """The number of tokens of each item row: an array, or a table lookup."""

    def __getitem__(self, rows: IntArray, /) -> IntArray: ...


class Budget(NamedTuple):
    """The maximum size of a batch."""

    trajectories: int
    items: int = UNLIMITED  # distinct
    tokens: int = UNLIMITED  # of the distinct items' text


def cut_batches(graph: Graph, order: IntArray, budget: Budget, tokens_V: TokenCounts | None = None) -> IntArray:
    """Starts of the batches, then the end: batch i holds order[starts[i]] up to order[starts[i + 1]].

    A batch ends before the trajectory that would exceed the budget. A trajectory that exceeds it alone gets a batch of
    its own. `tokens_V` holds the number of tokens of each item row.
    """
    tokens = np.zeros(graph.items, np.int64) if tokens_V is None else tokens_V[graph.row].astype(np.int64)
    return _cut_batches(graph.pins, order, tokens, budget)


@compiled
def _cut_batches(pins: Pins, order: IntArray, tokens: IntArray, budget: Budget) -> IntArray:
    seen = np.full(pins.items, -1, np.int64)
    starts = [0]
    items_held, tokens_held = 0, 0
    for place in range(len(order)):
        own = items_of(pins, order[place])
        more_items, more_tokens = 0, 0
        for item in own:
            if seen[item] != starts[-1]:
                more_items += 1
                more_tokens += tokens[item]
        fits = items_held + more_items <= budget.items and tokens_held + more_tokens <= budget.tokens
        if place > starts[-1] and (not fits or place - starts[-1] == budget.trajectories):
            starts.append(place)
            items_held, tokens_held = 0, 0
            more_items, more_tokens = len(own), tokens[own].sum()  # a new batch holds none of them yet
        items_held += more_items
        tokens_held += more_tokens
        seen[own] = starts[-1]
    if len(order):
        starts.append(len(order))
    return np.array(starts)


def superblock_size(batches: int, *, wanted: int, superblocks_at_least: int = 8) -> int:
    """Batches per superblock: as wanted, but so few that the data set has several superblocks to shuffle."""
    return max(1, min(wanted, batches // superblocks_at_least))
