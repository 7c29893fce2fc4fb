"""Spreads work on files over an engine's tasks, by the size of the files."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession

from pipelines.session import is_embedded

Item = TypeVar("Item")
Result = TypeVar("Result")
Read = Callable[[Sequence[Item]], Iterator[pa.RecordBatch]]
_LEAST, _MOST = 32 << 20, 64 << 20  # approximate bytes that one task reads: on Spark a task costs a tenth of a second
_LEAST_EMBEDDED = 8 << 20  # on the embedded engine a task costs nothing
_USUAL_TASKS = 16  # of a batch that is neither small nor large
_FEW_BYTES = 64 << 20  # this process reads them faster than tasks are planned


def frame_of(spark: SparkSession, read: Read[Item], shares: Sequence[Sequence[Item]], schema: str) -> DataFrame:
    """The rows that `read` returns for each share of the items, each share in a task of its own.

    The shares travel in the function's closure: rows of a frame cannot be assigned one to a task.
    """

    def run(numbers: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in numbers:
            for number in batch.column(0).to_pylist():
                yield from read(shares[number])

    return spark.range(0, len(shares), 1, max(len(shares), 1)).mapInArrow(run, schema)


def in_shares(spark: SparkSession, items: Sequence[Item], sizes: Sequence[int]) -> list[list[Item]]:
    """The items, in their order, in shares of a suitable size for a task; `sizes`: bytes of each item."""
    total = sum(sizes)
    share = min(max(total // _USUAL_TASKS, _LEAST), _MOST)
    if is_embedded(spark):  # it runs all of a frame's tasks at once
        share = max(_LEAST_EMBEDDED, total // (4 * (os.cpu_count() or 1)))
    shares: list[list[Item]] = []
    room = 0
    for item, size in zip(items, sizes, strict=True):
        if not shares or size > room:
            shares.append([])
            room = share
        shares[-1].append(item)
        room -= size
    return shares


def map_in_tasks(
    spark: SparkSession, function: Callable[[Item], Result], items: Sequence[Item], sizes: Sequence[int]
) -> list[Result]:
    """The results of `function` for each item, in their order; `sizes`: bytes that it reads for each.

    Few bytes are read in this process, more in tasks. An error of the function is raised here.
    """
    if sum(sizes) <= _FEW_BYTES or len(items) == 1:
        return [function(item) for item in items]
    shares = in_shares(spark, list(enumerate(items)), sizes)

    def results(share: Sequence[tuple[int, Item]]) -> Iterator[pa.RecordBatch]:
        for number, item in share:
            columns = [pa.array([number], pa.int64()), pa.array([pickle.dumps(function(item))], pa.binary())]
            yield pa.RecordBatch.from_arrays(columns, ["number", "result"])

    rows = frame_of(spark, results, shares, "number long, result binary").collect()
    found = {row["number"]: pickle.loads(row["result"]) for row in rows}
    return [found[number] for number in range(len(items))]
