"""Writes rows with the embedded engine and commits them by delta-rs.

Added rows are files that the engine has written. Where rows change, the files that hold them are replaced by others:
pyarrow 14 cannot read what delta-rs' own MERGE, UPDATE and DELETE write.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import reduce

import pyarrow as pa
from deltalake import DeltaTable, Schema
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import to_arrow_schema

from pipelines.delta.commits import Changes, Mark
from pipelines.delta.log import open_table
from pipelines.delta.merge import GONE, INCOMING, OLD, STORED, Merge
from pipelines.delta.reading import delta_frame
from pipelines.engine.committing import commit_files
from pipelines.engine.data_files import Staged, as_stored, write_files
from pipelines.engine.region import Region
from pipelines.engine.scratch import Keep, scratch
from pipelines.engine.stored_files import files_in, removals, rows_of
from pipelines.engine.stream_writer import overwrite_by_stream, standard_sql
from schemas.table import Table


class EmbeddedWriter:
    """Implements `writer.Writer`."""

    def append(
        self, table: Table, path: str, rows: DataFrame | Staged, mark: Mark, times: DataFrame | None = None
    ) -> int:
        """Add the rows and return their number; new columns are added to the table. `times`: as in the lake's
        `append`.
        """
        if isinstance(rows, DataFrame):
            _add_columns(open_table(path), rows)
            rows = _staged(table, path, rows, times)
        assert rows.files is not None, "this engine stages rows as files"
        rows.committing = True
        commit_files(open_table(path), rows.files.adds, mark, Changes(inserted=rows.files.rows))
        return rows.files.rows

    @contextmanager
    def staged(self, table: Table, path: str, rows: DataFrame, keep: Keep) -> Iterator[Staged]:
        """Inside, the rows are files that `append` can add to the table; without it they are removed at the end."""
        del keep
        found = _staged(table, path, rows)
        try:
            yield found
        finally:
            if found.files is not None and not found.committing:
                found.files.remove()

    def overwrite(self, table: Table, path: str, rows: DataFrame, where: str | None, mark: Mark) -> None:
        """Replace all rows, or those for which `where` holds; new columns are added to the table."""
        _add_columns(open_table(path), rows)
        predicate = None if where is None else standard_sql(where)
        at = open_table(path)
        overwrite_by_stream(table, at, [as_stored(rows, at, path)], mark, predicate=predicate)

    def merge(self, table: Table, path: str, rows: DataFrame, how: Merge, mark: Mark) -> Changes:
        """Update the stored rows that match, insert the others."""
        at = open_table(path)
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
                self.append(table, path, inserted, mark)
            else:
                replace_rows(table, at, path, stored, removed=updated, added=added, mark=mark, changes=changes)
            return changes

    def change(self, table: Table, path: str, rows: DataFrame, where: str, mark: Mark) -> Changes:
        """Replace or delete the stored rows that `old` names by its key."""
        at = open_table(path)
        stored = delta_frame(rows.sparkSession, path, version=at.version())
        with scratch() as keep:
            incoming = keep(rows)
            old = {name: f"{OLD}.{name}" for name in incoming.select(f"{OLD}.*").columns}
            near = stored.where(Region.of(table, incoming.select(f"{OLD}.*")).column())
            pairs = _pairs(near.alias(STORED).where(where), incoming, old)
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
                replace_rows(table, at, path, stored, removed=removed, added=added, mark=mark, changes=changes)
            return changes


def _staged(table: Table, path: str, rows: DataFrame, times: DataFrame | None = None) -> Staged:
    files = write_files(table, open_table(path), path, rows, times)
    return Staged(files.frame, files)


def _add_columns(table: DeltaTable, rows: DataFrame) -> None:
    """Add the rows' new columns to the table, in a commit of its own: in one commit with the rows, delta-rs would put
    the partition columns last.
    """
    known = {field.name for field in table.schema().fields}
    new = pa.schema([field.with_nullable(True) for field in to_arrow_schema(rows.schema) if field.name not in known])
    if new:
        table.alter.add_columns(Schema.from_arrow(new).fields)


def _pairs(stored: DataFrame, incoming: DataFrame, same: Mapping[str, str]) -> DataFrame:
    """Stored rows joined with the incoming rows. `same`: stored column -> the incoming column with an equal value."""
    equal = [F.col(f"{STORED}.`{own}`") == F.col(f"{INCOMING}.{other}") for own, other in same.items()]
    return stored.alias(STORED).join(incoming.alias(INCOMING), reduce(Column.__and__, equal))


def replace_rows(
    table: Table,
    at: DeltaTable,
    path: str,
    stored: DataFrame,
    *,
    removed: DataFrame,
    added: DataFrame,
    mark: Mark,
    changes: Changes,
) -> None:
    """Replace the stored rows that have the key of a removed one by the added ones, in one commit: it exchanges the
    files that can hold them for others. `stored`: the rows of the table at `path`.
    """
    columns = [*table.column_names]
    files = files_in(at, Region.of(table, removed.select(*columns)))
    same = reduce(Column.__and__, (F.col(f"a.`{n}`") == F.col(f"b.`{n}`") for n in (*table.partition_by, *table.key)))

    def replaced(held: DataFrame) -> DataFrame:
        others = held.alias("a").join(removed.alias("b"), same, how="left_anti")
        return others.unionByName(added, allowMissingColumns=True)

    if files is None:
        # By delta-rs: it overwrites the rows of a predicate, and copies the other rows of these files.
        region = Region.of(table, removed.select(*columns).unionByName(added, allowMissingColumns=True))
        rows = replaced(stored.where(region.column()))
        # One partition after another: the engine sorts each in memory.
        values = region.values.get(table.partition_by[-1], []) if table.ordered_by and table.partition_by else []
        parts = [rows.where(F.col(table.partition_by[-1]) == value) for value in values] or [rows]
        overwrite_by_stream(table, at, parts, mark, predicate=region.sql(), changes=changes)
        return
    held, time = rows_of(files, stored, path), table.ordered_by
    times = None if time is None else held.select(time).unionAll(added.select(time))
    made = write_files(table, at, path, replaced(held), times)
    # No retry: a row that another run adds meanwhile could have the key of a row that is changed here.
    commit_files(at, [*removals(files), *made.adds], mark, changes, retries=0)
