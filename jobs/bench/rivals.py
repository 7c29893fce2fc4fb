"""Benchmark: times ingest's rules in DuckDB on the same logs, or the start of an engine that then does nothing."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, Literal

from jobs.bench.in_duckdb import dedupe
from jobs.cli.command_line import run
from pipelines.engine.choice import EngineConfig, session_for
from schemas.errors import InputError


def rivals(
    *, logs: Path, out: Path, rival: Literal["start_embedded", "start_spark", "duckdb"] = "duckdb", threads: int = 2
) -> dict[str, Any]:
    """Run a rival on the logs; report the rows that it writes, and its seconds.

    Parameters
    ----------
    logs
        Folder of JSON lines as make_sample writes them.
    out
        Folder for the Parquet files; it must not exist.
    rival
        start_embedded and start_spark (only start a session), or duckdb (ingest's rules).
    threads
        Number of threads for DuckDB.
    """
    files = sorted(map(str, logs.glob("logs/*.jsonl*")))
    if not files or out.exists():
        raise InputError(f"{logs}/logs/*.jsonl must exist, and {out} must not. Name other folders")
    out.mkdir(parents=True)
    began = time.perf_counter()
    rows: dict[str, int] = {}
    if rival == "duckdb":
        rows = dedupe(files, out, threads=threads)
    else:
        engine = EngineConfig(engine="embedded" if rival == "start_embedded" else "spark")
        session_for("an engine and nothing else", engine)
    return {"rival": rival, **rows, "seconds": time.perf_counter() - began}


if __name__ == "__main__":
    raise SystemExit(run(rivals))
