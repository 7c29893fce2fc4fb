"""Divides the files of a table that is ordered by time into spans, so that a change of few rows rewrites few files."""

from __future__ import annotations

import pyarrow as pa
from deltalake import DeltaTable
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from schemas.table import Table

SPAN = "feedloop_span"  # the column that `with_spans` adds
SECONDS = 900  # a span is some quarters of an hour
FILE_BYTES = 16 << 20
_ROW_BYTES = 128  # assumed for an empty table


def quarter_of(time: str) -> Column:
    """The number of a time's quarter of an hour since 1970."""
    return F.floor(F.unix_micros(time) / (SECONDS * 1e6)).cast("long")


def with_spans(table: Table, at: DeltaTable, rows: DataFrame, times: DataFrame | None = None) -> DataFrame:
    """The rows with the number of their span, SPAN: a span holds about as many rows as a file should.

    `times`: a frame with the times of at least these rows that is cheaper to count than the rows.
    """
    assert table.ordered_by is not None, f"table {table.name} has no time that orders its files"
    quarter = quarter_of(table.ordered_by)
    counted = (rows if times is None else times).groupBy(quarter.alias("quarter")).count().collect()
    most = max(1, FILE_BYTES // _bytes_of_row(at))
    spans, span, held = [], 0, 0
    for number, count in sorted((row["quarter"], row["count"]) for row in counted):
        if held and held + count > most:
            span, held = span + 1, 0
        held += count
        spans.append((number, span))
    if span == 0:
        return rows.withColumn(SPAN, F.lit(0))
    known = rows.sparkSession.createDataFrame(spans, f"_quarter long, {SPAN} int")
    found = rows.withColumn("_quarter", quarter).join(F.broadcast(known), "_quarter", how="left").drop("_quarter")
    return found.withColumn(SPAN, F.coalesce(SPAN, F.lit(0)))


def _bytes_of_row(at: DeltaTable) -> int:
    """Average bytes of a row in the table's files."""
    files = pa.table(at.get_add_actions(flatten=True))
    rows = sum(files["num_records"].to_pylist()) if len(files) else 0
    return max(1, sum(files["size_bytes"].to_pylist()) // rows) if rows else _ROW_BYTES
