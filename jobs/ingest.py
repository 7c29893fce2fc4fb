"""Raw logs -> impressions, histories and rejects: adds what is new in a folder of logs to the lake."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from jobs.config import run
from pipelines.ingest.flow import ingest_logs
from pipelines.ingest.sources import find_logs
from pipelines.session import build_session, plain_errors
from pipelines.tables import Lake, named


def ingest(
    *, logs: Path, lake: str, source: str = "publisher", format: Literal["auto", "jsonl", "mind"] = "auto"
) -> dict[str, Any]:
    """Add impression logs to the lake. Running it again, or after a kill, gives the same tables.

    Parameters
    ----------
    logs
        A folder with logs/*.jsonl (JSON lines) or behaviors.tsv (MIND), plain or .gz; or one such file.
    lake
        The folder of the Delta tables; made if it is missing.
    source
        The publisher or collector that wrote the logs; ids of different sources never meet.
    format
        What the lines are; auto looks at what the folder holds.
    """
    find_logs(logs, format)  # refused before Spark starts
    with plain_errors():
        tables = Lake(build_session("feedloop ingest"), str(lake))
        return ingest_logs(tables, logs=logs, source=named(source), format=format, arrived_at=datetime.now(UTC))


if __name__ == "__main__":
    raise SystemExit(run(ingest))
