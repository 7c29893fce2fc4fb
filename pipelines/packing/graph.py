"""The hypergraph that packing partitions: trajectories are its vertices, distinct items its hyperedges."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipelines.packing.compiled import compiled
from pipelines.packing.shard import IntArray, Shard


class Pins(NamedTuple):
    """A graph's arrays as compiled loops take them: trajectory u holds item[start[u]] up to item[start[u + 1]]."""

    start: IntArray
    item: NDArray[np.int32]
    items: int


@compiled
def items_of(pins: Pins, trajectory: int) -> NDArray[np.int32]:
    """A view of the trajectory's distinct items."""
    return pins.item[pins.start[trajectory] : pins.start[trajectory + 1]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Graph:
    """Compressed sparse rows; a *pin* is an item in a trajectory."""

    start: IntArray  # (B + 1,) int64: trajectory b owns pins start[b] up to start[b + 1]
    item: NDArray[np.int32]  # (pins,), each once per trajectory, numbered 0 to items - 1
    items: int
    row: IntArray  # (items,) the item row of each number

    @property
    def trajectories(self) -> int:
        """B."""
        return len(self.start) - 1

    @property
    def lengths(self) -> IntArray:
        """Distinct items of each trajectory."""
        return np.diff(self.start)

    @property
    def pins(self) -> Pins:
        """The arrays for compiled loops."""
        return Pins(self.start, self.item, self.items)

    @classmethod
    def from_shard(cls, shard: Shard) -> Graph:
        """The items of clicks and of candidates: both are encoded."""
        most = max(int(shard.click_row.max(initial=0)), int(shard.candidate_row.max(initial=0)))
        owned = shard.candidate_start[shard.click_start]
        start, rows = _distinct_rows(shard.click_start, shard.click_row, owned, shard.candidate_row, most + 1)
        return cls.from_rows(start, rows)

    @classmethod
    def from_rows(cls, start: IntArray, rows: IntArray) -> Graph:
        """The graph of item rows (distinct within each trajectory), renumbered without gaps."""
        present = np.zeros(int(rows.max(initial=0)) + 1, np.bool_)
        present[rows] = True
        number = np.cumsum(present, dtype=np.int32) - 1
        row = np.flatnonzero(present)
        return cls(start=start.astype(np.int64), item=number[rows], items=int(present.sum()), row=row)

    def subgraph(self, chosen: IntArray) -> Graph:
        """The graph of these trajectories, in this order, items renumbered without gaps."""
        start = np.concatenate([[0], np.cumsum(self.lengths[chosen])]).astype(np.int64)
        part = self.from_rows(start, _gather(self.pins, chosen, int(start[-1])))
        return Graph(start=part.start, item=part.item, items=part.items, row=self.row[part.row])


@compiled
def _distinct_rows(
    click_start: IntArray, click_row: IntArray, candidate_start: IntArray, candidate_row: IntArray, rows: int
) -> tuple[IntArray, NDArray[np.int32]]:
    seen = np.full(rows, -1, np.int32)
    start = np.zeros(len(click_start), np.int64)
    found = np.empty(len(click_row) + len(candidate_row), np.int32)
    count = 0
    for b in range(len(click_start) - 1):
        for place in range(click_start[b], click_start[b + 1]):
            if seen[click_row[place]] != b:
                seen[click_row[place]] = b
                found[count] = click_row[place]
                count += 1
        for place in range(candidate_start[b], candidate_start[b + 1]):
            if seen[candidate_row[place]] != b:
                seen[candidate_row[place]] = b
                found[count] = candidate_row[place]
                count += 1
        start[b + 1] = count
    return start, found[:count].copy()


@compiled
def _gather(pins: Pins, chosen: IntArray, total: int) -> NDArray[np.int32]:
    found = np.empty(total, np.int32)
    count = 0
    for b in chosen:
        for item in items_of(pins, b):
            found[count] = item
            count += 1
    return found
