from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession

from jobs.bench.rivals import rivals
from schemas.errors import InputError
from tests.builders import json_line, write_logs


def test_plain_spark_writes_every_line_that_it_reads(spark: SparkSession, tmp_path: Path) -> None:
    logs = write_logs(tmp_path / "logs", {"a.jsonl": [json_line("i1"), json_line("i1")], "b.jsonl": [json_line("i2")]})
    found = rivals(logs=logs, out=tmp_path / "out", rival="spark_copy")
    assert found["rows"] == 3
    assert pq.read_table(tmp_path / "out/copy").num_rows == 3


def test_duckdb_counts_each_impression_once(tmp_path: Path) -> None:
    logs = write_logs(tmp_path / "logs", {"a.jsonl": [json_line("i1"), json_line("i1")], "b.jsonl": [json_line("i2")]})
    found = rivals(logs=logs, out=tmp_path / "out", rival="duckdb")
    assert (found["impressions"], found["histories"], found["rejects"]) == (1, 1, 0)  # i2: the same user, second, news


def test_a_folder_that_is_there_is_not_written_over(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="Name other folders"):
        rivals(logs=tmp_path, out=tmp_path)
