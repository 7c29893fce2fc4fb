"""Filters rows by whether a column holds one of some keys, on either engine without moving the other rows.

Spark joins by a broadcast of the keys. The embedded engine has no broadcast: its joins shuffle both sides by their
keys, and so would copy every row, with its histories, once for each join.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from pipelines.delta.reading import schema_text
from pipelines.engine.arrow import batches_of
from pipelines.session import is_embedded


def rows_with(rows: DataFrame, columns: Sequence[str], keys: DataFrame) -> DataFrame:
    """The rows in which one of the columns (bigint) holds a `key` of `keys`. The keys are distinct."""
    if is_embedded(rows.sparkSession):
        return rows.mapInArrow(_Filter(tuple(columns), _sorted(keys), wanted=True), schema_text(rows))
    found = [f"_{name}" for name in columns]
    for name, other in zip(columns, found, strict=True):
        rows = rows.join(keys.select(F.col("key").alias(other)), F.col(name) == F.col(other), how="left")
    return rows.where(F.coalesce(*found).isNotNull()).drop(*found)


def rows_without(rows: DataFrame, columns: Sequence[str], keys: DataFrame) -> DataFrame:
    """The rows in which none of the columns holds a key; as `rows_with`."""
    if is_embedded(rows.sparkSession):
        return rows.mapInArrow(_Filter(tuple(columns), _sorted(keys), wanted=False), schema_text(rows))
    for name in columns:
        rows = rows.join(keys.select(F.col("key").alias(name)), name, how="left_anti")
    return rows


@dataclass(frozen=True, slots=True)
class _Filter:
    columns: tuple[str, ...]
    keys: NDArray[np.int64]  # ascending
    wanted: bool

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            found = np.zeros(batch.num_rows, np.bool_)
            for name in self.columns:
                found |= self._holds(batch.column(name))
            yield batch.filter(pa.array(found == self.wanted))

    def _holds(self, column: pa.Array) -> NDArray[np.bool_]:
        if not len(self.keys):
            return np.zeros(len(column), np.bool_)
        values = column.fill_null(0).to_numpy(zero_copy_only=False)
        places = np.minimum(np.searchsorted(self.keys, values), len(self.keys) - 1)
        valid = column.is_valid().to_numpy(zero_copy_only=False)
        held: NDArray[np.bool_] = np.logical_and(self.keys[places] == values, valid)
        return held


def _sorted(keys: DataFrame) -> NDArray[np.int64]:
    parts = [batch.column(0).to_numpy(zero_copy_only=False) for batch in batches_of(keys.select("key"))]
    return np.sort(np.concatenate([np.empty(0, np.int64), *parts]))
