"""Where a run's logs are, a folder or a Delta table -> what finds those that the lake lacks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pyspark.sql import SparkSession

from pipelines.ingest.mapping import LogMapping
from pipelines.ingest.sources import Found, Known, find_usable, log_paths
from pipelines.ingest.table_source import find_in_table
from schemas.errors import PartlyDone

Find = Callable[[SparkSession, Mapping[str, Known]], Found]
_LARGE_BYTES = 200 << 20  # above, what the JVM's second compiler saves is more than it costs


def finding(logs: str, format: str, mapping: LogMapping | None) -> Find:
    """What finds new files, told which ones are known. InputError, before Spark runs, for a folder without logs."""
    if mapping is not None and mapping.format == "delta":
        return lambda spark, known: find_in_table(spark, logs, mapping, known)
    folder = Path(logs)
    paths = log_paths(folder, format, mapping)
    return lambda _, known: find_usable(paths, folder, mapping, known)


def jvm_for(logs: str, format: str, mapping: LogMapping | None) -> str:
    """The JVM of `build_session` for logs of this size: short or long. Files that were read before count as well."""
    if mapping is not None and mapping.format == "delta":
        return "long"
    sizes = (path.stat().st_size for path in log_paths(Path(logs), format, mapping) if path.exists())
    return "long" if sum(sizes) > _LARGE_BYTES else "short"


def all_used(logs: str, summary: dict[str, Any]) -> dict[str, Any]:
    """The run's summary; PartlyDone, which carries it, if there were files that could not be used."""
    unreadable = summary["unreadable_files"]
    if unreadable:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in list(unreadable.items())[:3])
        raise PartlyDone(f"{logs}: {len(unreadable)} files could not be used, the others are in. {reasons}", summary)
    return summary
