"""Checks between stages: each passes its frame on or raises ContractError, at the price of a Spark job."""

from __future__ import annotations

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from schemas.errors import ContractError
from schemas.table import Table


def unique_key(frame: DataFrame, table: Table) -> DataFrame:
    """The frame, if no two of its rows share the table's key."""
    twice = frame.groupBy(*table.key).agg(F.count("*").alias("rows")).where("rows > 1")
    example = twice.first()
    if example is not None:
        raise ContractError(
            f"table {table.name}: {example['rows']} rows share the key "
            f"{ {name: example[name] for name in table.key} }. Deduplicate them before this table is written"
        )
    return frame


def same_rows(frame: DataFrame, before: DataFrame, what: str) -> DataFrame:
    """The frame, if it has as many rows as `before`: a join that may neither add nor lose any."""
    found, wanted = frame.count(), before.count()
    if found != wanted:
        raise ContractError(
            f"{what}: {wanted} rows went in and {found} came out. Its join key is not unique, or misses"
        )
    return frame
