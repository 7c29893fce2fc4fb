"""The Spark half on a real Spark Connect server: the same tables as the embedded engine's."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from jobs.make_sample import make_sample
from pipelines.lake.tables import Lake
from schemas.impression import ALIASES, HISTORIES, IMPRESSIONS
from schemas.news import ITEM_TOKENS, NEWS
from schemas.raw_log import RAW_LOG, REJECTS
from schemas.trajectory import EVALUATION, TRAJECTORIES
from tests.builders import rows
from tests.conftest import REPOSITORY
from tests.engines import connect_server

TABLES = (RAW_LOG, REJECTS, IMPRESSIONS, ALIASES, HISTORIES, NEWS, ITEM_TOKENS, TRAJECTORIES, EVALUATION)
OF_THE_RUN = {"arrived_at", "arrived_on", "tokenizer_sha256"}


def loop(sample: Path, folder: Path, engine: list[str]) -> None:
    """Logs and news to packed batches, each job a process as users start it."""
    lake = ["--lake", str(folder / "lake")]
    jobs = [
        ["ingest", "--logs", str(sample)],
        ["prepare_news", "--news", str(sample)],
        ["build_trajectories"],
        ["pack", "--out", str(folder / "packed")],
        ["maintain"],
    ]
    kept = {name: value for name, value in os.environ.items() if name != "FEEDLOOP_ENGINE"}
    for job, *options in jobs:
        command = [sys.executable, "-m", f"jobs.{job}", *options, *lake, *engine]
        done = subprocess.run(command, cwd=REPOSITORY, env=kept, capture_output=True, text=True, check=False)
        assert done.returncode == 0, (job, done.stderr)


@pytest.mark.slow
def test_a_spark_connect_server_makes_what_the_embedded_engine_makes(spark: SparkSession, tmp_path: Path) -> None:
    make_sample(size="tiny", out=tmp_path / "sample")
    loop(tmp_path / "sample", tmp_path / "here", ["--engine", "embedded"])
    with connect_server(tmp_path) as url:
        loop(tmp_path / "sample", tmp_path / "there", ["--engine", "spark", "--remote", url])
    here, there = (Lake(spark, str(tmp_path / name / "lake")) for name in ("here", "there"))
    for table in TABLES:
        names = [name for name in table.column_names if name not in OF_THE_RUN]
        assert rows(here.read(table), *names) == rows(there.read(table), *names), table.name
    assert not (tmp_path / "there" / "lake" / "_scratch").exists()
