"""Replaces stored rows of a table by others, on the embedded engine."""

from __future__ import annotations

from functools import reduce

from deltalake import DeltaTable
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from pipelines.delta.commits import Changes, Mark
from pipelines.engine.committing import commit_files
from pipelines.engine.data_files import write_files
from pipelines.engine.region import Region
from pipelines.engine.stored_files import files_in, removals, rows_of
from pipelines.engine.stream_writer import overwrite_by_stream
from schemas.table import Table


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
