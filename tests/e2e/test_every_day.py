"""Two days of a publisher by the commands of README's "Every day": a day's clicks train what the day before began."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from jobs.build_trajectories import build_trajectories
from jobs.cli.command_line import Job, run
from jobs.ingest import ingest
from jobs.make_sample import make_sample
from jobs.pack import pack
from jobs.prepare_news import prepare_news
from pipelines.lake.tables import Lake
from schemas.token_table import file_of
from schemas.trajectory import EVALUATION, TRAJECTORIES
from tests.conftest import REPOSITORY

FIRST, SECOND, THIRD = "2026-03-05", "2026-03-06", "2026-03-07"
FIRST_NEWS = 240  # of 300


def arrive(folder: Path, last: str, news: int | None) -> None:
    """What stands in the folder by the end of that day: its logs and those of earlier ones, and so many news."""
    (folder / "logs").mkdir(exist_ok=True)
    for file in sorted((folder / "sample" / "logs").iterdir()):
        if file.name[: len(last)] <= last:
            shutil.copy(file, folder / "logs")
    lines = (folder / "sample" / "news.jsonl").read_bytes().splitlines(keepends=True)
    (folder / "news.jsonl").write_bytes(b"".join(lines[:news]))


def summary(job: Job, *options: object) -> dict[str, Any]:
    with redirect_stdout(io.StringIO()) as said:
        assert run(job, [str(option) for option in options]) == 0
    return dict(json.loads(said.getvalue().splitlines()[-1]))


def spark_half(folder: Path, *period: str, out: str) -> list[dict[str, Any]]:
    """What ingest, prepare_news, build_trajectories and pack reported."""
    lake = ("--lake", folder / "lake")
    return [
        summary(ingest, "--logs", folder, *lake),
        summary(prepare_news, "--news", folder, *lake),
        summary(build_trajectories, *period, *lake),
        summary(pack, "--out", folder / out, *lake),
    ]


def torch_job(folder: Path, name: str, *options: object) -> tuple[dict[str, Any], str]:
    """Its summary, and all else that it said."""
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-m", f"jobs.{name}", *map(str, options)]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1]), done.stdout + done.stderr


def train(folder: Path, day: str, *options: object) -> tuple[dict[str, Any], str]:
    config = ("--config", REPOSITORY / "jobs" / "presets" / "demo.toml", "--run.epochs", 1)
    data, out = ("--data", folder / f"packed-{day}"), ("--out", folder / f"run-{day}")
    return torch_job(folder, "train", *data, *out, *config, *options)


def test_a_days_clicks_train_what_the_day_before_began(spark: SparkSession, tmp_path: Path) -> None:
    make_sample(out=tmp_path / "sample", size="tiny", seed=3)
    arrive(tmp_path, SECOND, FIRST_NEWS)
    *_, first = spark_half(tmp_path, "--to", SECOND, out=f"packed-{FIRST}")
    train(tmp_path, FIRST)

    arrive(tmp_path, THIRD, None)
    period = ("--from", SECOND, "--to", THIRD)
    ingested, news, made, packed = spark_half(tmp_path, *period, out=f"packed-{SECOND}")
    assert ingested["new_files"] == 1
    assert news["new_items"] > 0
    assert (made["evaluate_from"], packed["targets"]) == (THIRD, made["targets"])
    assert 0 < made["targets"] < first["targets"]
    again = spark_half(tmp_path, *period, out=f"packed-{SECOND}")
    assert (again[0]["new_files"], again[1]["new_items"]) == (0, 0)
    assert again[2:] == [made, packed]

    lake = Lake(spark, str(tmp_path / "lake"))
    day = F.to_date("time").cast("string")
    trained, evaluated = (lake.read(table).select(day).distinct().collect() for table in (TRAJECTORIES, EVALUATION))
    assert ([row[0] for row in trained], [row[0] for row in evaluated]) == ([SECOND], [THIRD])
    then, now = (np.load(tmp_path / f"packed-{d}" / file_of("token_values")) for d in (FIRST, SECOND))
    assert len(now) > len(then)
    assert (now[: len(then)] == then).all()

    summary, said = train(tmp_path, SECOND, "--init-from", tmp_path / f"run-{FIRST}" / "checkpoint")
    assert f"{news['new_items']} new items, 0 with other tokens" in said
    assert summary["targets"] == made["targets"]
    again, _ = train(tmp_path, SECOND, "--resume", "auto", "--init-from", tmp_path / f"run-{FIRST}" / "checkpoint")
    assert again["checkpoint"] == summary["checkpoint"]
    quality, _ = torch_job(
        tmp_path,
        "evaluate",
        "--checkpoint",
        tmp_path / f"run-{SECOND}" / "checkpoint",
        "--data",
        tmp_path / f"packed-{SECOND}",
    )
    assert quality["impressions"] > 10
