"""Runs Python functions on all rows of one key, or on single rows spread over tasks, on either engine.

On Spark groupBy().applyInArrow would suffice. The embedded engine's needs a newer pyarrow than the locked one, and it
drops a sort on which only a Python function or a writer depends; it keeps the order of a window.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise
from threading import BoundedSemaphore

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F
from pyspark.sql.types import StructType

_PLACE = "__place"  # a row's position in its group, from 1

_CORES = BoundedSemaphore(os.cpu_count() or 1)

Function = Callable[[pa.Table], pa.Table]


def per_group(
    frame: DataFrame, keys: Sequence[str], function: Function, schema: StructType | str, *, order: Sequence[str] = ()
) -> DataFrame:
    """The results of `function` on the rows of each group of equal `keys`; a task holds one group in memory.

    Rows come in `order`, where that is given. `schema`: of the function's results.
    """
    window = Window.partitionBy(*keys).orderBy(*(order or keys))

    def of_groups(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for table in complete_groups(batches):
            yield from function(table).to_batches()

    return frame.withColumn(_PLACE, F.row_number().over(window)).mapInArrow(of_groups, schema)


def complete_groups(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.Table]:
    """A table for each run of consecutive rows whose positions count from 1, without that column.

    AssertionError where they do not: the engine has mixed rows of several groups.
    """
    held: list[pa.RecordBatch] = []
    for batch in batches:
        place = batch[_PLACE].to_numpy()
        starts = np.flatnonzero(place == 1).tolist()
        for start, stop in pairwise(sorted({0, *starts, len(place)})):
            if held and place[start] == 1:
                yield _together(held)
                held = []
            held.append(batch.slice(start, stop - start))
    if held:
        yield _together(held)


def _together(pieces: Sequence[pa.RecordBatch]) -> pa.Table:
    table = pa.Table.from_batches(pieces)
    place = table[_PLACE].to_numpy()
    assert np.array_equal(place, np.arange(1, len(place) + 1)), "the engine did not keep the rows of a group together"
    return table.drop_columns([_PLACE])


def in_order(
    frame: DataFrame, order: Sequence[str], function: Callable[[Iterator[pa.RecordBatch]], pa.Table], schema: str
) -> DataFrame:
    """The result of `function` on all rows, which one task gets batch after batch in this order."""

    def of_all(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        yield from function(_checked_order(batches)).to_batches()

    window = Window.partitionBy(F.lit(0)).orderBy(*order)
    return frame.withColumn(_PLACE, F.row_number().over(window)).coalesce(1).mapInArrow(of_all, schema)


def _checked_order(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    rows = 0
    for batch in batches:
        place = batch[_PLACE].to_numpy()
        assert np.array_equal(place, np.arange(rows + 1, rows + 1 + len(place))), "the engine did not keep the order"
        rows += len(place)
        yield batch.select([name for name in batch.schema.names if name != _PLACE])


def per_row(frame: DataFrame, rows: int, key: str, function: Function, schema: StructType | str) -> DataFrame:
    """The results of `function` on each row; `rows`: their number. Rows differ in `key`: about one task for each."""

    def of_rows(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for place in range(batch.num_rows):
                yield from _run_limited(function, pa.Table.from_batches([batch.slice(place, 1)])).to_batches()

    return frame.repartition(max(1, rows), key).mapInArrow(of_rows, schema)


def _run_limited(function: Function, row: pa.Table) -> pa.Table:
    """Run the function on one core: the embedded engine starts all tasks at once, in this process."""
    with _CORES:
        return function(row)
