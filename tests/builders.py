"""Small literal data for tests of the Spark half: log lines, RAW_LOG frames, folders of logs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pyspark.sql import DataFrame, SparkSession

from schemas.as_spark import spark_schema
from schemas.raw_log import RAW_LOG
from tests.compressing import packed

ARRIVED = datetime(2026, 3, 10, tzinfo=UTC)
Line = str | bytes


def json_line(impression_id: str = "i1", *, without: Sequence[str] = (), **fields: Any) -> str:
    """One JSON log line of a good impression, with the fields given instead of its own."""
    record: dict[str, Any] = {
        "impression_id": impression_id,
        "user_id": "u1",
        "time": "2026-03-02T09:15:31Z",
        "history": ["n1", "n2"],
        "shown": ["n3", "n4"],
        "clicked": ["n3"],
    }
    return json.dumps({name: value for name, value in (record | fields).items() if name not in without})


def mind_line(
    impression_id: str = "1",
    user_id: str = "U1",
    time: str = "11/9/2019 9:05:58 AM",
    history: str = "N1 N2",
    shown: str = "N3-1 N4-0",
) -> str:
    """One line of MIND's behaviors.tsv."""
    return "\t".join((impression_id, user_id, time, history, shown))


def raw_logs(
    spark: SparkSession, *lines: Line, file: str = "logs/a.jsonl", format: str = "jsonl", batch: int = 1
) -> DataFrame:
    """RAW_LOG rows of one file."""
    rows = [
        ("publisher", file, at, bytearray(_bytes(line)), format, ARRIVED, batch, ARRIVED.date())
        for at, line in enumerate(lines)
    ]
    return spark.createDataFrame(rows, spark_schema(RAW_LOG))


def write_logs(folder: Path, files: Mapping[str, Sequence[Line]]) -> Path:
    """The folder with logs/NAME of each file, compressed as the name says; MIND's behaviors.tsv lies next to logs."""
    for name, lines in files.items():
        path = folder / (name if "behaviors" in name else f"logs/{name}")
        path.parent.mkdir(parents=True, exist_ok=True)
        content = b"".join(_bytes(line) + b"\n" for line in lines)
        path.write_bytes(packed(name, content))
    return folder


def rows(frame: DataFrame, *columns: str) -> list[tuple[Any, ...]]:
    """The rows as plain tuples, sorted: frames have no order."""
    return sorted((tuple(row) for row in (frame.select(*columns) if columns else frame).collect()), key=repr)


def _bytes(line: Line) -> bytes:
    return line if isinstance(line, bytes) else line.encode()
