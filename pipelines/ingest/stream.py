"""A folder of logs that keeps growing: the files that are new since the last run, some at a time, each line once.

Structured Streaming finds the files and remembers them; what it hands on is their paths alone. So lines are read,
counted and refused exactly as in a batch, and the lake's own books tell which of them it has, whatever the checkpoint
remembers. Spark never looks again at a file that it has seen: what has grown since, or could not be used then, is found
by its size after the stream.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote

from pyspark.sql import DataFrame, SparkSession

from pipelines.ingest.known import Known
from pipelines.ingest.mapping import LogMapping
from pipelines.ingest.sources import Found, find_new, log_patterns, matching
from pipelines.session import SPARK_ERRORS, literally, located
from pipelines.tables import Lake
from schemas.errors import InputError

_FILE = "path string, modificationTime timestamp, length long, content binary"
_OF_ALL_FILES = ("outputs", "unreadable_files", "unfinished_lines")
_FOR_EVER = "36500d"  # by default, a file that comes with an old date is passed over without a word

Add = Callable[[Callable[[Mapping[str, Known]], Found]], Mapping[str, Any]]  # a batch ingest of what is found


@dataclass(frozen=True, slots=True)
class Growing:
    """A folder of logs that keeps growing, and how its files are read."""

    logs: Path
    format: str
    mapping: LogMapping | None
    final: bool = False  # last lines count, whatever they end with

    def __post_init__(self) -> None:
        named = self.mapping is None or (self.mapping.files and "**" not in self.mapping.files)
        if not self.logs.is_dir() or not named:
            raise InputError(f"{self.logs}: a stream reads a folder, by a pattern without **. Leave --stream-files out")

    @property
    def patterns(self) -> tuple[str, ...]:
        """The globs below the folder that its files match."""
        return log_patterns(self.logs, self.format, self.mapping)

    def files(self) -> list[Path]:
        """The files that there are."""
        return [path for path in matching(self.logs, self.patterns) if not path.is_dir()]

    def find(self, paths: Iterable[Path]) -> Callable[[Mapping[str, Known]], Found]:
        """What finds the new ones of these files."""
        return partial(find_new, paths, self.logs, self.mapping, final=self.final)


def ingest_stream(lake: Lake, growing: Growing, add: Add, *, source: str, max_files: int) -> dict[str, Any]:
    """All files of the folder that are new, at most `max_files` at a time, then those that have changed, through `add`;
    the sums of its figures.
    """
    summaries: list[Mapping[str, Any]] = []
    failures: list[Exception] = []
    growing = replace(growing, logs=growing.logs.resolve())  # as Spark names its files

    def each(files: DataFrame, _: int) -> None:
        # A set: Spark may list a file twice, by its folder and by its name.
        paths = {Path("/" + row["path"].removeprefix("file:").lstrip("/")) for row in files.collect()}
        new = sorted(paths & set(growing.files()))
        try:
            if new:
                summaries.append(add(growing.find(new)))
        except Exception as error:
            failures.append(error)  # Spark would pass on its text alone
            raise

    checkpoint = located(f"{lake.root}/_streams/{quote(source, safe='')}")
    writing = _listed(lake.spark, growing, max_files).writeStream.foreachBatch(each)
    try:
        started = writing.option("checkpointLocation", checkpoint).trigger(availableNow=True).start()
        started.awaitTermination()
    except SPARK_ERRORS:
        if failures:
            raise failures[0] from None
        raise
    finally:
        lake.spark.createDataFrame([], "path string")  # makes ours the active session again, not the stream's own
    summaries.append(add(growing.find(growing.files())))
    first, last = summaries[0], summaries[-1]  # the last one looks at all files
    return summed(summaries) | {"inputs": first["inputs"]} | {name: last[name] for name in _OF_ALL_FILES}


def _listed(spark: SparkSession, growing: Growing, max_files: int) -> DataFrame:
    """A stream of the paths of the folder's files: those that bear the names of logs, wherever below it they lie.

    Spark's own patterns for paths fail at any name with a colon beside the files that they look for.
    """
    starts = {pattern.partition("/")[0] if "/" in pattern else "*" for pattern in growing.patterns}
    below = growing.logs / starts.pop() if len(starts) == 1 else growing.logs
    below = below if below.is_dir() else growing.logs  # where that is a pattern, too
    names = ",".join(PurePosixPath(pattern).name for pattern in growing.patterns)
    where = literally(below)
    if ":" in str(below) and where != located(below):
        raise InputError(
            f"{below}: Spark can stream no folder whose path has both a colon and one of []{{}}*?\\. Leave "
            "--stream-files out, or rename it"
        )
    reading = spark.readStream.format("binaryFile").schema(_FILE).option("maxFilesPerTrigger", max_files)
    reading = reading.option("maxFileAge", _FOR_EVER).option("recursiveFileLookup", True)
    return reading.option("pathGlobFilter", f"{{{names}}}").load(where).select("path")  # the content is never read


def summed(summaries: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The runs' figures added up, and what they named by name put together."""
    total: dict[str, Any] = {}
    for summary in summaries:
        for name, value in summary.items():
            total[name] = _added(total[name], value) if name in total else value
    return total


def _added(one: Any, other: Any) -> Any:
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return summed([one, other])
    return one + other if isinstance(one, int) and isinstance(other, int) else other
