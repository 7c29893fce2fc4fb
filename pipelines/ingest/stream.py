"""A folder of logs that keeps growing: the files that are new since the last run, some at a time, each line once.

Structured Streaming finds the files and remembers them; what it hands on is their paths alone. So lines are read,
counted and refused exactly as in a batch, and the lake's own books tell which of them it has, whatever the checkpoint
remembers. Spark never looks again at a file that it has seen: what has grown since, or could not be used then, is found
by its size after the stream.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

from pyspark.sql import DataFrame

from pipelines.ingest.mapping import LogMapping
from pipelines.ingest.sources import Found, Known, find_new, log_patterns, matching
from pipelines.session import SPARK_ERRORS, literally
from pipelines.tables import Lake
from schemas.errors import InputError

_FILE = "path string, modificationTime timestamp, length long, content binary"
_UNREADABLE = "unreadable_files"
_FOR_EVER = "36500d"  # by default, a file that comes with an old date is passed over without a word

Add = Callable[[Callable[[Mapping[str, Known]], Found]], Mapping[str, Any]]  # a batch ingest of what is found


def ingest_stream(
    lake: Lake, logs: Path, format: str, mapping: LogMapping | None, add: Add, *, source: str, max_files: int
) -> dict[str, Any]:
    """All files below `logs` that are new, at most `max_files` at a time, then those that have changed, through `add`;
    the sums of its figures.
    """
    if not logs.is_dir() or (mapping is not None and ("**" in mapping.files or not mapping.files)) or max_files < 0:
        raise InputError(f"{logs}: a stream reads a folder, by a pattern without **. Leave --stream-files out")
    logs = logs.absolute()  # as Spark names its files
    patterns = log_patterns(logs, format, mapping)
    summaries: list[Mapping[str, Any]] = []
    failures: list[Exception] = []

    def each(files: DataFrame, _: int) -> None:
        # A set: Spark may list a file twice, by its folder and by its name.
        paths = {Path("/" + row["path"].removeprefix("file:").lstrip("/")) for row in files.collect()}
        new = sorted(paths & set(_files(logs, patterns)))
        try:
            if new:
                summaries.append(add(partial(find_new, new, logs, mapping)))
        except Exception as error:
            failures.append(error)  # Spark would pass on its text alone
            raise

    found = (
        lake.spark.readStream.format("binaryFile")
        .schema(_FILE)
        .option("maxFilesPerTrigger", max_files)
        .option("maxFileAge", _FOR_EVER)
        .load(f"{literally(logs)}/{{{','.join(patterns)}}}")
        .select("path")  # the content is never read
    )
    checkpoint = f"{lake.root}/_streams/{quote(source, safe='')}"
    writing = found.writeStream.foreachBatch(each).option("checkpointLocation", checkpoint)
    try:
        writing.trigger(availableNow=True).start().awaitTermination()
    except SPARK_ERRORS:
        if failures:
            raise failures[0] from None
        raise
    finally:
        lake.spark.createDataFrame([], "path string")  # makes ours the active session again, not the stream's own
    summaries.append(add(partial(find_new, _files(logs, patterns), logs, mapping)))
    first, last = summaries[0], summaries[-1]  # the last one looks at all files
    return summed(summaries) | {"inputs": first["inputs"]} | {name: last[name] for name in ("outputs", _UNREADABLE)}


def _files(logs: Path, patterns: Sequence[str]) -> list[Path]:
    return [path for path in matching(logs, patterns) if not path.is_dir()]


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
