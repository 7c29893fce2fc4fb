"""Benchmark: one rival of ingest on the same logs: plain Spark that reads and writes them, or DuckDB with its rules."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, Literal

from jobs.bench.in_duckdb import dedupe
from jobs.config import run
from pipelines.engine.local_spark import build_session
from pipelines.session import located, named_files
from schemas.errors import InputError

_FIELDS = "impression_id STRING, user_id STRING, time STRING, history ARRAY<STRING>, shown ARRAY<STRING>"


def rivals(
    *, logs: Path, out: Path, rival: Literal["start", "spark_copy", "duckdb"] = "duckdb", threads: int = 2
) -> dict[str, Any]:
    """The rows that a rival makes of the logs, and its seconds.

    Parameters
    ----------
    logs
        Folder of JSON lines as make_sample writes them.
    out
        Folder for the Parquet files; it must not exist.
    rival
        start (a Spark session and nothing else), spark_copy (read and write, no dedupe) or duckdb (ingest's rules).
    threads
        How many threads DuckDB may use; Spark's are FEEDLOOP_MASTER's.
    """
    files = sorted(map(str, logs.glob("logs/*.jsonl*")))
    if not files or out.exists():
        raise InputError(f"{logs}/logs/*.jsonl must be there, and {out} must not. Name other folders")
    out.mkdir(parents=True)
    began = time.perf_counter()
    if rival == "duckdb":
        rows = dedupe(files, out, threads=threads)
    else:
        rows = _in_spark(files if rival == "spark_copy" else [], out / "copy")
    return {"rival": rival, **rows, "seconds": time.perf_counter() - began}


def _in_spark(files: list[str], out: Path) -> dict[str, int]:
    spark = build_session("plain Spark")
    if not files:
        return {}
    ((reader, names),) = named_files(spark, [*map(Path, files)])  # make_sample gives no name with a colon
    frame = reader.schema(f"{_FIELDS}, clicked ARRAY<STRING>").json(names)
    frame.write.parquet(located(out))
    return {"rows": spark.read.parquet(located(out)).count()}


if __name__ == "__main__":
    raise SystemExit(run(rivals))
