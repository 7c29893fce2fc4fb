"""Two processes that append to one table on S3 at the same time, by any engines: every row is there, once."""

from __future__ import annotations

import multiprocessing
from multiprocessing.synchronize import Barrier

import pytest
from pyspark.sql import SparkSession

from pipelines.lake.tables import Lake
from tests.builders import rows
from tests.engines import Engine, running
from tests.lakes import WORDS, words

APPENDS = 15


def appends(engine: Engine, root: str, writer: int, count: int, both: Barrier) -> None:
    with running(engine) as spark:
        lake = Lake(spark, root)
        for number in range(count):
            frame = words(lake, ("en", f"{writer}-{number}", [number]))
            for version in (number, number):  # a replay adds nothing
                lake.append(WORDS, frame, app_id=f"writer-{writer}", app_version=version)
            if number == 0:
                both.wait(200)  # the first takes Spark many seconds, and they shall meet


@pytest.mark.parametrize(
    "writers",
    [
        pytest.param((("embedded", APPENDS), ("embedded", APPENDS)), id="embedded"),
        pytest.param((("spark", 4), ("embedded", 4)), id="mixed"),
        pytest.param((("spark", APPENDS), ("embedded", APPENDS)), id="mixed-long", marks=pytest.mark.slow),
        pytest.param((("spark", APPENDS), ("spark", APPENDS)), id="spark", marks=pytest.mark.slow),
    ],
)
def test_two_processes_lose_no_append(
    spark: SparkSession, bucket: str, monkeypatch: pytest.MonkeyPatch, writers: tuple[tuple[Engine, int], ...]
) -> None:
    monkeypatch.setenv("FEEDLOOP_DRIVER_MEMORY", "1g")
    root = f"{bucket}/lake"
    lake = Lake(spark, root)
    lake.create(WORDS)
    start = multiprocessing.get_context("spawn")
    both = start.Barrier(len(writers))
    children = [
        start.Process(target=appends, args=(engine, root, writer, count, both))
        for writer, (engine, count) in enumerate(writers)
    ]
    for process in children:
        process.start()
    for process in children:
        process.join()
    assert [process.exitcode for process in children] == [0, 0]
    found = rows(lake.read(WORDS), "word", "uses")
    expected = [
        (f"{writer}-{number}", [number]) for writer, (_, count) in enumerate(writers) for number in range(count)
    ]
    assert found == sorted(expected)
    assert lake.version(WORDS) == len(expected), "a commit for each append"
