from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
from pyspark.sql import SparkSession

from jobs.ingest import ingest
from pipelines import history_bytes
from pipelines.lake.tables import Lake
from tests.builders import json_line, write_logs


def test_histories_stored_once_take_less_than_in_every_impression(spark: SparkSession, tmp_path: Path) -> None:
    clicks = [[f"n{(user * 7919 + at * 104729) % 99991}" for at in range(80)] for user in range(20)]
    times = [f"2026-03-02T{at // 60:02d}:{at % 60:02d}:00Z" for at in range(60)]
    lines = [
        json_line(f"i{user}-{at}", user_id=f"u{user}", time=time, history=clicks[user][: 20 + at])
        for at, time in enumerate(times)
        for user in range(20)
    ]
    logs = write_logs(tmp_path / "logs", {"a.jsonl": lines})
    ingest(logs=str(logs), lake=str(tmp_path / "lake"))
    lake = Lake(spark, str(tmp_path / "lake"))
    found = history_bytes.written_both_ways(lake, tmp_path)
    assert history_bytes.history_bytes(lake) == found
    assert 0 < found["histories"] < found["unsorted"]
    assert found["pointers"] > 0
    assert found["history_ratio"] == found["unsorted"] / (found["histories"] + found["pointers"])
    assert pq.read_table(tmp_path / "unsorted.parquet").num_rows == len(lines)
    by_user = pq.read_table(tmp_path / "sorted.parquet")["history"].to_pylist()
    assert by_user[:60] == [clicks[0][: 20 + at] for at in range(60)]
