"""The trajectories of one task as flat numpy arrays, for ordering, cutting and assembling."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

IntArray = NDArray[np.integer[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """Compressed sparse rows on two levels: trajectories own clicks, clicks own candidates."""

    click_start: IntArray  # trajectory b owns clicks click_start[b] up to click_start[b + 1]
    click_row: IntArray
    prefix: IntArray
    weight: NDArray[np.float32]
    logged: NDArray[np.bool_]
    candidate_start: IntArray  # click c owns candidates candidate_start[c] up to candidate_start[c + 1]
    candidate_row: IntArray

    @property
    def trajectories(self) -> int:
        """B of the shard."""
        return len(self.click_start) - 1

    @property
    def click_owner(self) -> IntArray:
        """The trajectory of each click."""
        return np.repeat(np.arange(self.trajectories), np.diff(self.click_start))

    @classmethod
    def from_arrow(cls, table: pa.Table) -> Shard:
        """The shard of a table with TRAJECTORIES' array columns, in the table's row order."""
        click_start, click_row = _lists(_column(table, "click_row"))
        _, candidates = _lists(_column(table, "candidate_row"))
        candidate_start, candidate_row = _lists(candidates)
        flat = {name: _lists(_column(table, name))[1] for name in ("prefix", "weight", "logged")}
        sizes = {name: len(values) for name, values in flat.items()} | {"candidate_row": len(candidate_start) - 1}
        assert set(sizes.values()) <= {len(click_row)}, f"{len(click_row)} clicks, but {sizes}"
        return cls(
            click_start=click_start,
            click_row=_numpy(click_row),
            prefix=_numpy(flat["prefix"]),
            weight=_numpy(flat["weight"]),
            logged=_numpy(flat["logged"]),
            candidate_start=candidate_start,
            candidate_row=_numpy(candidate_row),
        )


def _column(table: pa.Table, name: str) -> pa.ListArray:
    chunks = table.column(name)
    return pa.concat_arrays(chunks.chunks) if chunks.num_chunks else pa.array([], chunks.type)


def _lists(lists: pa.ListArray) -> tuple[IntArray, pa.Array]:
    """(offsets from 0, the values that they delimit). A slice keeps its parent's values, hence the shift."""
    offsets = lists.offsets.to_numpy().astype(np.int64)
    return offsets - offsets[0], lists.values[offsets[0] : offsets[-1]]


def _numpy(values: pa.Array) -> NDArray[Any]:
    array: NDArray[Any] = values.to_numpy(zero_copy_only=False)
    return array
