from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.engine.local_spark import build_session
from pipelines.session import sized_for
from tests.conftest import REPOSITORY
from tests.engines import running

START = """
from pipelines.engine.local_spark import build_session
from schemas.errors import InputError
try:
    build_session("test")
except InputError as error:
    print(error)
"""


TELL = """
from pipelines.engine.local_spark import build_session
context = build_session("test").sparkContext
java = context._jvm.java.lang
arguments = java.management.ManagementFactory.getRuntimeMXBean().getInputArguments()
print("-Xmx700m" in arguments, any("TieredStopAtLevel" in each for each in arguments))
"""


def start(folder: Path, script: str = START, **environment: str) -> str:
    """What a session says of itself, or that it cannot start, in a process of its own."""
    env = os.environ | {"PYTHONPATH": str(REPOSITORY)} | environment
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=folder, env=env, capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_missing_jars_are_an_error_with_the_way_out(tmp_path: Path) -> None:
    assert "no Delta jars there. Run ./feedloop setup" in start(tmp_path, FEEDLOOP_JARS=str(tmp_path))


def test_missing_java_is_an_error_with_the_way_out(tmp_path: Path) -> None:
    assert "Install Java 17 or 21, or run ./feedloop setup" in start(tmp_path, JAVA_HOME=str(tmp_path / "none"))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("FEEDLOOP_JVM", "fast", "FEEDLOOP_JVM is 'fast': use one of short, long, or unset it"),
        ("FEEDLOOP_DRIVER_MEMORY", "6 GB", "FEEDLOOP_DRIVER_MEMORY is '6 GB': give it in GB or MB, such as 6g"),
    ],
)
def test_a_setting_that_is_none_is_an_error_with_the_way_out(
    tmp_path: Path, name: str, value: str, message: str
) -> None:
    assert message in start(tmp_path, **{name: value})


def test_the_jvm_starts_with_the_memory_and_the_compilers_asked_for(tmp_path: Path) -> None:
    said = start(tmp_path, script=TELL, FEEDLOOP_DRIVER_MEMORY="700m", FEEDLOOP_JVM="long")
    assert said == "True False\n"


def test_a_session_of_spark_speaks_utc_and_is_shared() -> None:
    with running("spark") as spark:
        spark.conf.set("spark.sql.session.timeZone", "Asia/Tokyo")  # as another tool's, whose session is the active one
        assert build_session("another") is spark
        row = spark.sql("SELECT string(timestamp '2026-03-02T09:15:31+02:00') AS t").collect()[0]
        assert row["t"] == "2026-03-02 07:15:31"


def test_a_big_shuffle_is_cut_into_parts_that_fit_and_the_setting_is_put_back() -> None:
    names = ("spark.sql.shuffle.partitions", "spark.sql.adaptive.coalescePartitions.initialPartitionNum")
    with running("spark") as spark:

        def parts() -> set[str | None]:
            return {spark.conf.get(name) for name in names}

        before = {str(len(os.sched_getaffinity(0)))}
        assert parts() == before
        with sized_for(spark, 3 << 30):
            assert parts() == {"32"}
            with sized_for(spark, 1000):
                assert parts() == before
            assert parts() == {"32"}
        assert parts() == before


def test_the_embedded_engine_speaks_utc() -> None:
    with running("embedded") as spark:
        row = spark.sql("SELECT to_date(timestamp '2026-03-02T01:15:31+02:00') AS date").collect()[0]
        assert str(row["date"]) == "2026-03-01"
