"""Replaces a source's rows by those that a replay made: table by table, one commit each.

A note on INGEST_RUNS says that a replacement is under way, and the next run of ingest finishes it: each commit can be
repeated. Sequences of HISTORIES are added first and removed last, so no impression is ever without its own.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from pipelines.delta.table_ddl import literal
from pipelines.ingest.batch.run_records import of_source
from pipelines.lake.notes import ReplayNote, read_note
from pipelines.lake.tables import Lake
from schemas.errors import InputError
from schemas.impression import ALIASES, HISTORIES, IMPRESSIONS
from schemas.raw_log import INGEST_RUNS, RAW_LOG, REJECTS
from schemas.storage.files import remove_folder
from schemas.storage.place import Place
from schemas.table import Table

FOLDER = "_replay"  # below the lake; Spark and Delta skip names with an underscore
REPLACED_TABLES = (IMPRESSIONS, ALIASES, REJECTS, HISTORIES, INGEST_RUNS)
_NOTE = "replay."


class RebuiltLake(Lake):
    """The tables that a replay makes from the lake's own RAW_LOG, in a folder below the lake."""

    def __init__(self, lake: Lake, folder: str) -> None:
        super().__init__(lake.spark, f"{lake.root}/{folder}")
        self._lake = lake

    def path(self, table: Table) -> str:
        """The table's folder."""
        return self._lake.path(table) if table is RAW_LOG else super().path(table)


def note_of(lake: Lake, source: str) -> dict[str, Any]:
    """The source's ReplayNote as plain values; empty if there is none."""
    return read_note(lake, INGEST_RUNS, _NOTE + source, ReplayNote) if lake.exists(INGEST_RUNS) else {}


def write_note(lake: Lake, source: str, note: Mapping[str, Any]) -> None:
    """Store the source's ReplayNote."""
    lake.note(INGEST_RUNS, _NOTE + source, json.dumps(dict(note), sort_keys=True))


def finish_replacements(lake: Lake, *, skip_lost_of: str | None = None) -> None:
    """Finish the replacements that killed runs began, and remove the tables of replays killed before that. InputError,
    with advice, if the rows for a replacement are lost.

    The caller holds the lock of ingest. `skip_lost_of`: a source whose lost rows raise no error, for this run rebuilds
    them.
    """
    names = lake.notes(INGEST_RUNS) if lake.exists(INGEST_RUNS) else {}
    for source in sorted(name.removeprefix(_NOTE) for name in names if name.startswith(_NOTE)):
        note = note_of(lake, source)
        if not note.get("folder"):
            continue
        if RebuiltLake(lake, note["folder"]).versions(REPLACED_TABLES) == note["made"]:
            replace_rows(lake, source, note)
        elif source != skip_lost_of:
            raise InputError(
                f"{lake.root}: a replay of {source} was stopped while it wrote its rows into the tables, and the rows "
                f"that it had made, in {note['folder']}, are gone or changed. Run ./feedloop ingest --replay --source "
                f"{source}"
            )
    remove_folder(Place.of(f"{lake.root}/{FOLDER}"))


def rows_of(lake: Lake, rebuilt: Lake, table: Table, source: str) -> tuple[DataFrame, DataFrame] | None:
    """The source's stored rows of the table and the rows that the replay made, in the same columns; None if neither
    lake has the table.
    """
    there = [each for each in (lake, rebuilt) if each.exists(table)]
    if not there:
        return None
    empty = of_source(there[0], table, source).limit(0)
    stored, made = (of_source(each, table, source) if each in there else empty for each in (lake, rebuilt))
    if table is INGEST_RUNS:
        made = _with_stored_arrival(made, stored)
    return _with_columns_of(stored, made), _with_columns_of(made, stored).select(*_names(stored, made))


def _with_stored_arrival(made: DataFrame, stored: DataFrame) -> DataFrame:
    """Rows of INGEST_RUNS with the columns that do not depend on how lines are read: when the batch came, and the
    number of its lines of forgotten users, which `lines` no longer counts.
    """
    kept_out, forgotten = F.col("suppressed"), F.col("forgotten")
    gone = F.when(
        kept_out.isNotNull() | forgotten.isNotNull(), F.coalesce(kept_out, F.lit(0)) + F.coalesce(forgotten, F.lit(0))
    )
    known = stored.select("batch", "finished_at", gone.alias("suppressed"))
    own = made.drop("finished_at", "suppressed").withColumn("forgotten", F.lit(None).cast("long"))
    return own.join(known, "batch", how="left").select(*stored.columns)


def differences(stored: DataFrame, made: DataFrame) -> dict[str, int]:
    """The number of rows before and after, and of those that are only after (`new`) or only before (`gone`)."""
    return {
        "before": stored.count(),
        "after": made.count(),
        "new": made.exceptAll(stored).count(),
        "gone": stored.exceptAll(made).count(),
    }


def replace_rows(lake: Lake, source: str, note: Mapping[str, Any]) -> None:
    """Replace the source's rows by those of the replay, then note that it is done and remove its tables."""
    rebuilt = RebuiltLake(lake, note["folder"])
    ours, mark = f"source = {literal(source)}", {"replayed": source}
    if HISTORIES.name in note["changed"]:
        stored, made = _required_rows(lake, rebuilt, HISTORIES, source)
        known = stored.select(*HISTORIES.key)
        lake.overwrite(
            HISTORIES, stored.unionByName(made.join(known, [*HISTORIES.key], how="left_anti")), where=ours, note=mark
        )
    for table in REPLACED_TABLES:
        if table.name in note["changed"]:
            rows = _required_rows(lake, rebuilt, table, source)[1]
            lake.overwrite(table, rows, where=ours, note=mark, evolve=True)
    write_note(lake, source, {"formats": note["formats"]})
    remove_folder(Place.of(rebuilt.root))


def _required_rows(lake: Lake, rebuilt: Lake, table: Table, source: str) -> tuple[DataFrame, DataFrame]:
    found = rows_of(lake, rebuilt, table, source)
    assert found is not None, "the replay found a difference in this table"
    return found


def _names(stored: DataFrame, made: DataFrame) -> list[str]:
    return [*stored.columns, *(name for name in made.columns if name not in stored.columns)]


def _with_columns_of(frame: DataFrame, other: DataFrame) -> DataFrame:
    """Adds the extra columns that only the other frame has, as nulls."""
    lacking = {name: F.lit(None).cast(kind) for name, kind in other.dtypes if name not in frame.columns}
    return frame.withColumns(lacking) if lacking else frame
