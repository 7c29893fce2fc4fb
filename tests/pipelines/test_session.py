from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from pyspark.sql import SparkSession

from pipelines.session import build_session, whole_files
from tests.conftest import REPOSITORY

START = """
from pipelines.session import build_session
from schemas.errors import InputError
try:
    build_session("test")
except InputError as error:
    print(error)
"""


def start(folder: Path, **environment: str) -> str:
    """What a session that cannot start says, in a process of its own."""
    env = os.environ | {"PYTHONPATH": str(REPOSITORY)} | environment
    done = subprocess.run(
        [sys.executable, "-c", START], cwd=folder, env=env, capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_missing_jars_are_an_error_with_the_way_out(tmp_path: Path) -> None:
    assert "no Delta jars there. Run ./feedloop setup" in start(tmp_path, FEEDLOOP_JARS=str(tmp_path))


def test_missing_java_is_an_error_with_the_way_out(tmp_path: Path) -> None:
    assert "Install Java 17 or 21, or run ./feedloop setup" in start(tmp_path, JAVA_HOME=str(tmp_path / "none"))


def test_the_session_speaks_utc_and_is_shared(spark: SparkSession) -> None:
    assert build_session("another") is spark
    assert (
        spark.sql("SELECT string(timestamp '2026-03-02T09:15:31+02:00') AS t").collect()[0]["t"]
        == "2026-03-02 07:15:31"
    )


def test_file_settings_are_put_back(spark: SparkSession) -> None:
    name = "spark.sql.files.maxPartitionBytes"
    before = spark.conf.get(name)
    with whole_files(spark):
        assert spark.conf.get(name) != before
    assert spark.conf.get(name) == before
