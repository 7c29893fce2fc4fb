"""A run's logs, a folder or a Delta table -> the function that finds the files which the lake lacks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

from pyspark.sql import SparkSession

from pipelines.ingest.discover.listing import Since
from pipelines.ingest.discover.log_file import size_of
from pipelines.ingest.discover.previous_reads import Known
from pipelines.ingest.discover.sources import Found, find_usable, require_logs
from pipelines.ingest.discover.spread import map_in_tasks
from pipelines.ingest.discover.table_log import table_log, table_root
from pipelines.ingest.discover.table_source import find_in_table
from pipelines.ingest.parse.mapping import LogMapping
from schemas.errors import InputError, PartlyDone
from schemas.storage.paths import path_of

Find = Callable[[SparkSession, Mapping[str, Known]], Found]


class Discovery(NamedTuple):
    """The function that finds new files, given the known ones."""

    find: Find
    bytes: int  # of all files, also those that were read before
    left_out: Mapping[str, Any] = {}  # the summary's entry about older files that were left out


def discover(
    logs: str, format: str, mapping: LogMapping | None, *, final: bool = False, since: Since | None = None
) -> Discovery:
    """The function that finds new files. `final`: a last line counts even without a line end; `since`: older files are
    left out. InputError, before an engine runs, for a folder without logs.
    """
    if mapping is not None and mapping.format == "delta":
        size = sum(file.bytes for file in table_log(table_root(logs)).files)
        if since is not None:
            raise InputError(f"{logs}: a Delta table lists its own files, and logs_since is for folders: drop it")
        return Discovery(lambda _, known: find_in_table(logs, mapping, known), size)
    folder = path_of(logs)
    paths, left_out = require_logs(folder, format, mapping, since)
    size = sum(map(size_of, paths))
    find = partial(find_usable, paths, folder, mapping, final=final)
    return Discovery(lambda spark, known: find(known, map_items=partial(map_in_tasks, spark)), size, left_out)


def check_all_used(logs: str, summary: dict[str, Any]) -> dict[str, Any]:
    """The run's summary; PartlyDone, which carries it, if some files could not be used."""
    unreadable = summary["unreadable_files"]
    if unreadable:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in list(unreadable.items())[:3])
        raise PartlyDone(
            f"{logs}: {len(unreadable)} files could not be used, the others were ingested. {reasons}", summary
        )
    return summary
