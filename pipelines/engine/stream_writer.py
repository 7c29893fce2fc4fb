"""Overwrites the rows of a predicate by delta-rs, from one stream of the engine's batches."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import reduce
from itertools import chain
from typing import Any

import pyarrow as pa
from deltalake import DeltaTable, write_deltalake
from deltalake.exceptions import DeltaError
from pyspark.sql import DataFrame

from pipelines.delta.commits import Changes, Mark
from pipelines.delta.delta_errors import RuleError, broken_rule
from pipelines.delta.log import ZSTD, rules_of, spelt_by_spark
from pipelines.engine import spans
from pipelines.engine.arrow import batches_of, typed
from pipelines.engine.committing import commit_properties
from pipelines.engine.region import literal
from schemas.errors import InputError
from schemas.table import Table

_TEXT = re.compile(r"'((?:[^'\\]|\\.)*)'", re.DOTALL)  # as `table_ddl.literal` writes it


def standard_sql(condition: str) -> str:
    """A condition of Spark SQL in delta-rs' SQL: with quotes in texts doubled, and backslashes unescaped."""
    return _TEXT.sub(lambda text: literal(re.sub(r"\\(.)", r"\1", text[1], flags=re.DOTALL)), condition)


def overwrite_by_stream(
    table: Table,
    at: DeltaTable,
    parts: list[DataFrame],
    mark: Mark,
    *,
    predicate: str | None,
    changes: Changes | None = None,
) -> None:
    """Replace the rows for which the predicate holds, or all, by the rows of all parts, in one commit. They have the
    table's types and are written to files in the order of its time.
    """
    how: dict[str, Any] = {}
    if table.ordered_by is not None:
        parts = [rows.orderBy(*table.partition_by, table.ordered_by) for rows in parts]
        how = {"target_file_size": spans.FILE_BYTES}
    properties = commit_properties(mark, changes)
    _refuse_spelling(at, predicate)
    schema, failed = _schema(at, parts[0]), list[Exception]()
    found = chain.from_iterable(map(batches_of, parts))
    batches = pa.RecordBatchReader.from_batches(schema, _noting(typed(found, schema), failed))
    try:
        write_deltalake(
            at,
            batches,
            mode="overwrite",
            predicate=predicate,
            commit_properties=properties,
            writer_properties=ZSTD,
            **how,
        )
    except DeltaError as error:
        if failed:
            raise failed[0] from None
        # delta-rs names only the rows.
        rows = reduce(DataFrame.unionAll, parts)
        broken = broken_rule(rows, rules_of(at)) if "failed validation check" in str(error) else None
        if broken is None:
            raise
        raise RuleError(broken) from error


def _refuse_spelling(table: DeltaTable, predicate: str | None) -> None:
    """InputError where the commit would have to remove a file that delta-rs cannot remove."""
    for name, values in spelt_by_spark(table).items():
        known = predicate is not None and name in predicate
        if touched := [value for value in values if not known or literal(value) in str(predicate)]:
            raise InputError(
                f"{table.table_uri}: Spark has written rows of {name} {touched[0]!r} under a path with letters beyond "
                "ASCII, and only Spark can take them out. Add --engine spark, or name a new --lake"
            )


def _noting(batches: Iterator[pa.RecordBatch], failed: list[Exception]) -> Iterator[pa.RecordBatch]:
    """The same batches; keeps the error that reading raises, of which delta-rs passes on only the text."""
    try:
        yield from batches
    except Exception as error:
        failed.append(error)
        raise


def _schema(table: DeltaTable, rows: DataFrame) -> pa.Schema:
    """The rows' columns in the types of the table."""
    stored = pa.schema(table.schema())
    return pa.schema([stored.field(name) for name in rows.columns])
