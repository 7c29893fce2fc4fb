"""The exchange of a source's rows for those that a replay made: table by table, one commit each.

A note on INGEST_RUNS says that it is under way, and whatever run of ingest comes next finishes it: each commit can be
repeated. Sequences of HISTORIES are added first and taken away last, so at no moment does an impression lack its own.
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

FOLDER = "_replay"  # below the lake; Spark and Delta pass over names with an underscore
EXCHANGED = (IMPRESSIONS, ALIASES, REJECTS, HISTORIES, INGEST_RUNS)
_NOTE = "replay."


class Rebuilt(Lake):
    """The tables that a replay makes, in a folder below the lake, out of the lake's own RAW_LOG."""

    def __init__(self, lake: Lake, folder: str) -> None:
        super().__init__(lake.spark, f"{lake.root}/{folder}")
        self._lake = lake

    def path(self, table: Table) -> str:
        """Where the table lies."""
        return self._lake.path(table) if table is RAW_LOG else super().path(table)


def note_of(lake: Lake, source: str) -> dict[str, Any]:
    """The source's ReplayNote as plain values; empty where there is none."""
    return read_note(lake, INGEST_RUNS, _NOTE + source, ReplayNote) if lake.exists(INGEST_RUNS) else {}


def write_note(lake: Lake, source: str, note: Mapping[str, Any]) -> None:
    """The source's ReplayNote from now on."""
    lake.note(INGEST_RUNS, _NOTE + source, json.dumps(dict(note), sort_keys=True))


def finish_exchanges(lake: Lake, *, but: str | None = None) -> None:
    """Finish the exchanges that killed runs began, and remove the tables of those that had not come so far. InputError
    where the rows for one are gone, and what to do.

    Nobody else may be in the stage. `but`: a source whose exchange need not be finished then, for the run makes its
    rows anew.
    """
    names = lake.notes(INGEST_RUNS) if lake.exists(INGEST_RUNS) else {}
    for source in sorted(name.removeprefix(_NOTE) for name in names if name.startswith(_NOTE)):
        note = note_of(lake, source)
        if not note.get("folder"):
            continue
        if Rebuilt(lake, note["folder"]).versions(EXCHANGED) == note["made"]:
            exchange(lake, source, note)
        elif source != but:
            raise InputError(
                f"{lake.root}: a replay of {source} was stopped while it wrote its rows into the tables, and what it "
                f"had made, in {note['folder']}, is gone or changed. Run ./feedloop ingest --replay --source {source}"
            )
    remove_folder(Place.of(f"{lake.root}/{FOLDER}"))


def rows_of(lake: Lake, rebuilt: Lake, table: Table, source: str) -> tuple[DataFrame, DataFrame] | None:
    """The source's rows of the table as they are stored, and as the replay made them, in the same columns; None where
    neither lake has the table.
    """
    there = [each for each in (lake, rebuilt) if each.exists(table)]
    if not there:
        return None
    empty = of_source(there[0], table, source).limit(0)
    stored, made = (of_source(each, table, source) if each in there else empty for each in (lake, rebuilt))
    if table is INGEST_RUNS:
        made = _as_they_came(made, stored)
    return _with_columns_of(stored, made), _with_columns_of(made, stored).select(*_names(stored, made))


def _as_they_came(made: DataFrame, stored: DataFrame) -> DataFrame:
    """Rows of the books with what is no matter of how a batch's lines are read: when it came, and how many of its lines
    are of forgotten users, which by now are none of `lines`.
    """
    kept_out, forgotten = F.col("suppressed"), F.col("forgotten")
    gone = F.when(
        kept_out.isNotNull() | forgotten.isNotNull(), F.coalesce(kept_out, F.lit(0)) + F.coalesce(forgotten, F.lit(0))
    )
    known = stored.select("batch", "finished_at", gone.alias("suppressed"))
    own = made.drop("finished_at", "suppressed").withColumn("forgotten", F.lit(None).cast("long"))
    return own.join(known, "batch", how="left").select(*stored.columns)


def differences(stored: DataFrame, made: DataFrame) -> dict[str, int]:
    """How many rows there are before and after, and how many of them only after (`new`) or only before (`gone`)."""
    return {
        "before": stored.count(),
        "after": made.count(),
        "new": made.exceptAll(stored).count(),
        "gone": stored.exceptAll(made).count(),
    }


def exchange(lake: Lake, source: str, note: Mapping[str, Any]) -> None:
    """Put the rows of the replay in place of the source's own, then note that it is done and remove its tables."""
    rebuilt = Rebuilt(lake, note["folder"])
    ours, mark = f"source = {literal(source)}", {"replayed": source}
    if HISTORIES.name in note["changed"]:
        stored, made = _both(lake, rebuilt, HISTORIES, source)
        known = stored.select(*HISTORIES.key)
        lake.overwrite(
            HISTORIES, stored.unionByName(made.join(known, [*HISTORIES.key], how="left_anti")), where=ours, note=mark
        )
    for table in EXCHANGED:
        if table.name in note["changed"]:
            rows = _both(lake, rebuilt, table, source)[1]
            lake.overwrite(table, rows, where=ours, note=mark, evolve=True)
    write_note(lake, source, {"formats": note["formats"]})
    remove_folder(Place.of(rebuilt.root))


def _both(lake: Lake, rebuilt: Lake, table: Table, source: str) -> tuple[DataFrame, DataFrame]:
    found = rows_of(lake, rebuilt, table, source)
    assert found is not None, "the replay found that its rows differ"
    return found


def _names(stored: DataFrame, made: DataFrame) -> list[str]:
    return [*stored.columns, *(name for name in made.columns if name not in stored.columns)]


def _with_columns_of(frame: DataFrame, other: DataFrame) -> DataFrame:
    """The rows with the extra columns that only the other frame has, null."""
    lacking = {name: F.lit(None).cast(kind) for name, kind in other.dtypes if name not in frame.columns}
    return frame.withColumns(lacking) if lacking else frame
