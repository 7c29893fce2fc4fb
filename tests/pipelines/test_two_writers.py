"""Two processes that append to one table on S3 at the same time: every row is there, once."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from pipelines.engine.embedded import embedded_session
from pipelines.session import is_embedded
from pipelines.tables import Lake
from tests.builders import rows
from tests.lakes import WORDS, words

APPENDS = 15


def appends(root: str, writer: int) -> None:
    lake = Lake(embedded_session(), root)
    for number in range(APPENDS):
        frame = words(lake, ("en", f"{writer}-{number}", [number]))
        for version in (number, number):  # a replay adds nothing
            lake.append(WORDS, frame, app_id=f"writer-{writer}", app_version=version)


def test_two_processes_lose_no_append(spark: SparkSession, bucket: str, tmp_path: Path) -> None:
    if not is_embedded(spark):
        pytest.skip("Spark on S3 wants a log store of the user's own")
    root = f"{bucket}/lake"
    lake = Lake(spark, root)
    lake.create(WORDS)
    start = multiprocessing.get_context("spawn")
    writers = [start.Process(target=appends, args=(root, writer)) for writer in range(2)]
    for process in writers:
        process.start()
    for process in writers:
        process.join()
    assert [process.exitcode for process in writers] == [0, 0]
    found = rows(lake.read(WORDS), "word", "uses")
    assert found == sorted((f"{writer}-{number}", [number]) for writer in range(2) for number in range(APPENDS))
