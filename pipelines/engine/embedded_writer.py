"""Writes of the embedded engine: its batches go to delta-rs, which commits them.

Stored rows are changed by an overwrite with a predicate: what delta-rs' own MERGE, UPDATE and DELETE write, pyarrow 14
cannot read. The predicate names partitions and, where they are few, the ids of the rows that change; all other rows of
these files are copied by delta-rs, and never come into Python.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import reduce
from itertools import chain
from typing import Any

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, Schema, Transaction, write_deltalake
from deltalake.exceptions import DeltaError
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import to_arrow_schema

from pipelines.commits import Changes, Mark
from pipelines.delta_log import RULE, ZSTD, opened
from pipelines.engine.arrow import batches_of, typed
from pipelines.engine.reading import delta_frame
from pipelines.engine.region import Region, literal
from pipelines.engine.scratch import scratch
from pipelines.merging import GONE, INCOMING, OLD, STORED, Merge
from pipelines.refusals import RuleError, broken_rule
from schemas.table import Table

_ORDERED_FILE_BYTES = 16 << 20
_TEXT = re.compile(r"'((?:[^'\\]|\\.)*)'", re.DOTALL)  # as `making.literal` writes it


class EmbeddedWriter:
    """As `writer.Writer` says."""

    def append(self, table: Table, path: str, rows: DataFrame, mark: Mark) -> None:
        """Add the rows; columns that the table lacks become columns of it."""
        _add_columns(opened(path), rows)
        _write(table, opened(path), [_whole(rows, path)], mark, mode="append")

    def overwrite(self, table: Table, path: str, rows: DataFrame, where: str | None, mark: Mark) -> None:
        """Replace all rows, or those for which `where` holds; columns that the table lacks become columns of it."""
        _add_columns(opened(path), rows)
        predicate = None if where is None else _standard(where)
        _write(table, opened(path), [_whole(rows, path)], mark, mode="overwrite", predicate=predicate)

    def merge(self, table: Table, path: str, rows: DataFrame, how: Merge, mark: Mark) -> Changes:
        """Update the stored rows that match, insert the others."""
        at = opened(path)
        stored = delta_frame(rows.sparkSession, path, version=at.version())
        with scratch() as keep:
            incoming = keep(rows)
            candidates = stored if how.where is None else stored.alias(STORED).where(how.where)
            pairs = _pairs(candidates, incoming, {name: name for name in how.key})
            matched = pairs if how.update_when is None else pairs.where(how.update_when)
            values = [
                F.expr(how.set_on_match[name]).cast(kind).alias(name)
                if name in how.set_on_match
                else F.col(f"{STORED}.`{name}`")
                for name, kind in stored.dtypes
            ]
            updated = keep(matched.select(*values))  # MERGE never changes a key
            there = pairs.select(*(F.col(f"{STORED}.`{name}`") for name in how.key))
            inserted = keep(incoming.join(there, [*how.key], how="left_anti").select(*how.values))
            changes = Changes(inserted.count(), updated.count())
            added = inserted.unionByName(updated, allowMissingColumns=True)
            if changes.updated == 0:
                _write(table, at, [_whole(inserted, path)], mark, mode="append")
            else:
                _replace(table, at, stored, removed=updated, added=added, mark=mark, changes=changes)
            return changes

    def change(self, table: Table, path: str, rows: DataFrame, where: str, mark: Mark) -> Changes:
        """Replace or delete the stored rows that `old` names by its key."""
        at = opened(path)
        stored = delta_frame(rows.sparkSession, path, version=at.version())
        with scratch() as keep:
            incoming = keep(rows)
            old = {name: f"{OLD}.{name}" for name in incoming.select(f"{OLD}.*").columns}
            pairs = _pairs(stored.alias(STORED).where(where), incoming, old)
            new = [
                F.col(f"{INCOMING if name in incoming.columns else STORED}.`{name}`").cast(kind).alias(name)
                for name, kind in stored.dtypes
            ]
            row = F.struct(*(F.col(f"{STORED}.`{name}`") for name in stored.columns)).alias("before")
            matched = keep(pairs.select(row, F.struct(*new).alias("after"), F.col(f"{INCOMING}.{GONE}").alias(GONE)))
            deleted = matched.where(GONE).count()
            changes = Changes(updated=matched.count() - deleted, deleted=deleted)
            if changes != Changes():
                removed, added = matched.select("before.*"), matched.where(f"NOT {GONE}").select("after.*")
                _replace(table, at, stored, removed=removed, added=added, mark=mark, changes=changes)
            return changes


def _add_columns(table: DeltaTable, rows: DataFrame) -> None:
    """What the rows have and the table lacks becomes columns of it, in a commit of its own: delta-rs' way to do both in
    one would put the partitions' columns last.
    """
    known = {field.name for field in table.schema().fields}
    new = pa.schema([field.with_nullable(True) for field in to_arrow_schema(rows.schema) if field.name not in known])
    if new:
        table.alter.add_columns(Schema.from_arrow(new).fields)


def _whole(rows: DataFrame, path: str) -> DataFrame:
    """The rows with every column of the table."""
    stored = delta_frame(rows.sparkSession, path)
    return stored.limit(0).unionByName(rows, allowMissingColumns=True)


def _pairs(stored: DataFrame, incoming: DataFrame, same: Mapping[str, str]) -> DataFrame:
    """Stored rows beside the incoming row whose columns (the values) hold what they have in these (the keys)."""
    named = [F.col(f"{STORED}.`{own}`") == F.col(f"{INCOMING}.{other}") for own, other in same.items()]
    return stored.alias(STORED).join(incoming.alias(INCOMING), reduce(Column.__and__, named))


def _replace(
    table: Table,
    at: DeltaTable,
    stored: DataFrame,
    *,
    removed: DataFrame,
    added: DataFrame,
    mark: Mark,
    changes: Changes,
) -> None:
    """The stored rows that have the key of a removed one become the added ones, in one commit."""
    region = Region.of(table, removed.select(*table.column_names).unionByName(added, allowMissingColumns=True))
    same = reduce(Column.__and__, (F.col(f"a.`{n}`") == F.col(f"b.`{n}`") for n in (*table.partition_by, *table.key)))
    others = stored.where(region.column()).alias("a").join(removed.alias("b"), same, how="left_anti")
    rows = others.unionByName(added, allowMissingColumns=True)
    # One partition after the other: the engine sorts each in memory.
    values = region.values.get(table.partition_by[-1], []) if table.ordered_by and table.partition_by else []
    parts = [rows.where(F.col(table.partition_by[-1]) == value) for value in values] or [rows]
    _write(table, at, parts, mark, changes=changes, mode="overwrite", predicate=region.sql())


def _standard(condition: str) -> str:
    """A condition of Spark SQL as delta-rs reads it: with quotes in texts doubled, and backslashes as they are."""
    return _TEXT.sub(lambda text: literal(re.sub(r"\\(.)", r"\1", text[1], flags=re.DOTALL)), condition)


def _write(
    table: Table, at: DeltaTable, parts: list[DataFrame], mark: Mark, *, changes: Changes | None = None, **how: Any
) -> None:
    """One commit with the rows of all parts, in the table's own types, and in files by the time that orders them."""
    if table.ordered_by is not None:
        parts = [rows.orderBy(*table.partition_by, table.ordered_by) for rows in parts]
        how |= {"target_file_size": _ORDERED_FILE_BYTES}
    text = mark.user_metadata(changes)
    app = [] if mark.app_id is None else [Transaction(mark.app_id, mark.app_version or 0)]
    properties = CommitProperties(
        custom_metadata=None if text is None else {"userMetadata": text}, app_transactions=app or None
    )
    schema, failed = _schema(at, parts[0]), list[Exception]()
    found = chain.from_iterable(map(batches_of, parts))
    batches = pa.RecordBatchReader.from_batches(schema, _noting(typed(found, schema), failed))
    try:
        write_deltalake(at, batches, commit_properties=properties, writer_properties=ZSTD, **how)
    except DeltaError as error:
        if failed:
            raise failed[0] from None
        rules = {n.removeprefix(RULE): sql for n, sql in at.metadata().configuration.items() if n.startswith(RULE)}
        # delta-rs names only the rows.
        whole = reduce(DataFrame.unionAll, parts)
        broken = broken_rule(whole, rules) if "failed validation check" in str(error) else None
        if broken is None:
            raise
        raise RuleError(broken) from error


def _noting(batches: Iterator[pa.RecordBatch], failed: list[Exception]) -> Iterator[pa.RecordBatch]:
    """The same; delta-rs passes on the text alone of what fails in here."""
    try:
        yield from batches
    except Exception as error:
        failed.append(error)
        raise


def _schema(table: DeltaTable, rows: DataFrame) -> pa.Schema:
    """The rows' columns in the types of the table."""
    stored = pa.schema(table.schema())
    return pa.schema([stored.field(name) for name in rows.columns])
