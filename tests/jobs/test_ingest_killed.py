"""Ingest killed by SIGKILL at random moments, JVM and all, and run again: the lake of a run that was never killed."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from pyspark.sql import SparkSession

from jobs.make_sample import make_sample
from pipelines.tables import Lake
from schemas.impression import ALIASES, HISTORIES, IMPRESSIONS
from schemas.raw_log import INGEST_FILES, INGEST_RUNS, RAW_LOG, REJECTS
from tests.builders import rows
from tests.conftest import REPOSITORY

MOMENTS = [pytest.param(at, marks=() if at < 3 else pytest.mark.slow) for at in range(20)]


class Whole(NamedTuple):
    """A run that nobody killed: its logs, how long it took, what it made."""

    logs: Path
    seconds: float
    tables: list[Any]


def start(logs: Path, lake: Path) -> subprocess.Popen[bytes]:
    """The job in a process group of its own, small batches so that there are several."""
    command = [sys.executable, "-m", "jobs.ingest", "--logs", str(logs), "--lake", str(lake)]
    command += ["--max-batch-bytes", "300000"]
    env = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    return subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True)


def finish(running: subprocess.Popen[bytes]) -> None:
    _, said = running.communicate(timeout=500)
    assert running.returncode == 0, said.decode()


def made(spark: SparkSession, lake: Path) -> list[Any]:
    """Everything but the times of the runs."""
    tables = Lake(spark, str(lake))
    impressions = [name for name in IMPRESSIONS.column_names]
    return [
        rows(tables.read(IMPRESSIONS), *impressions),
        rows(tables.read(ALIASES)),
        rows(tables.read(HISTORIES)),
        rows(tables.read(REJECTS)),
        rows(tables.read(RAW_LOG).drop("arrived_at")),
        rows(tables.read(INGEST_FILES).drop("stamp")),  # none where the file had just been written
        rows(tables.read(INGEST_RUNS), "batch", "files", "lines", "impressions", "merged", "rejected"),
    ]


@pytest.fixture(scope="module")
def whole(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Whole:
    folder = tmp_path_factory.mktemp("whole")
    make_sample(out=folder / "sample", size="tiny")
    began = time.monotonic()
    finish(start(folder / "sample", folder / "lake"))
    return Whole(folder / "sample", time.monotonic() - began, made(spark, folder / "lake"))


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_killed_run_and_another_make_what_one_run_makes(
    spark: SparkSession, whole: Whole, tmp_path: Path, moment: int
) -> None:
    lake = tmp_path / "lake"
    running = start(whole.logs, lake)
    time.sleep(random.Random(moment).uniform(0.2, 1.0) * whole.seconds)
    os.killpg(running.pid, signal.SIGKILL)
    running.communicate()
    finish(start(whole.logs, lake))
    assert made(spark, lake) == whole.tables
