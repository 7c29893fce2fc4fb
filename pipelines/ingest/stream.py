"""Ingest of a growing folder of logs: the files that are new since the last run, some at a time, each line once.

INGEST_FILES holds the files that the lake has. New ones come first, at most `max_files` at a time; files that have
grown since they were read, or could not be used then, are inspected after them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from pyspark.sql import SparkSession

from pipelines.ingest.batch.run_records import known_files
from pipelines.ingest.discover.listing import Since
from pipelines.ingest.discover.previous_reads import Known
from pipelines.ingest.discover.sources import Found, Logs, find_new, list_logs
from pipelines.ingest.discover.spread import map_in_tasks
from pipelines.ingest.parse.mapping import LogMapping
from pipelines.lake.tables import Lake
from schemas.errors import InputError

_OF_ALL_FILES = ("outputs", "unreadable_files", "unfinished_lines")

Add = Callable[[Callable[[Mapping[str, Known]], Found]], Mapping[str, Any]]  # one ingest of the files found


@dataclass(frozen=True, slots=True)
class GrowingFolder:
    """A growing folder of logs, and how its files are read."""

    logs: Path
    format: str
    mapping: LogMapping | None
    final: bool = False  # a last line counts even without a line end
    since: Since | None = None  # older files are left out

    def __post_init__(self) -> None:
        named = self.mapping is None or (self.mapping.files and "**" not in self.mapping.files)
        if not self.logs.is_dir() or not named:
            raise InputError(f"{self.logs}: a stream reads a folder, by a pattern without **. Leave --stream-files out")

    def files(self) -> Logs:
        """The files that the folder holds now."""
        found = list_logs(self.logs, self.format, self.mapping, self.since)
        return found._replace(paths=[path for path in found.paths if not path.is_dir()])

    def find(self, spark: SparkSession, paths: Sequence[Path]) -> Callable[[Mapping[str, Known]], Found]:
        """The function that finds the new ones of these files."""
        map_items = partial(map_in_tasks, spark)
        return partial(find_new, paths, self.logs, self.mapping, final=self.final, map_items=map_items)


def ingest_stream(lake: Lake, growing: GrowingFolder, add: Add, *, source: str, max_files: int) -> dict[str, Any]:
    """Ingest all new files of the folder, at most `max_files` at a time, then those that have changed, each time by
    `add`; returns its summaries added up.
    """
    folder = growing.logs
    known = known_files(lake, source)
    new = [path for path in growing.files().paths if str(path.relative_to(folder)) not in known]
    summaries = [add(growing.find(lake.spark, new[at : at + max_files])) for at in range(0, len(new), max_files)]
    now = growing.files()
    summaries.append(add(growing.find(lake.spark, now.paths)))
    first, last = summaries[0], summaries[-1]  # the last one inspects all files
    latest = {name: last[name] for name in _OF_ALL_FILES}
    return summed(summaries) | {"inputs": first["inputs"]} | latest | dict(now.left_out)


def summed(summaries: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The runs' numbers added up, and their tables joined by key."""
    total: dict[str, Any] = {}
    for summary in summaries:
        for name, value in summary.items():
            total[name] = _added(total[name], value) if name in total else value
    return total


def _added(one: Any, other: Any) -> Any:
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return summed([one, other])
    return one + other if isinstance(one, int) and isinstance(other, int) else other
