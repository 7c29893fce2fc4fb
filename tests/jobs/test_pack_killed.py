"""Packing killed by SIGKILL at random moments, JVM and all: complete or absent, and whoever packs next sweeps up."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import pytest
from pyspark.sql import SparkSession

from jobs.build_trajectories import build_trajectories
from jobs.ingest import ingest
from jobs.make_sample import make_sample
from jobs.prepare_news import prepare_news
from schemas.manifest import MANIFEST_FILE, Manifest
from tests.conftest import REPOSITORY
from trainer.data.description import describe
from trainer.data.directory import PackedDirectory

MOMENTS = [pytest.param(at, marks=() if at < 3 else pytest.mark.slow) for at in range(20)]


class Whole(NamedTuple):
    """A lake, and a run of packing that nobody killed: from when on it wrote, how long it took, what it made."""

    lake: Path
    begins: float
    seconds: float
    made: list[str]


def start(lake: Path, out: Path) -> subprocess.Popen[bytes]:
    """The job in a process group of its own, in several shards."""
    command = [sys.executable, "-m", "jobs.pack", "--lake", str(lake), "--out", str(out)]
    command += ["--batch-trajectories", "8", "--shard-trajectories", "60"]
    env = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    return subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True)


def finish(running: subprocess.Popen[bytes]) -> None:
    _, said = running.communicate(timeout=300)
    assert running.returncode == 0, said.decode()


def made(out: Path) -> list[str]:
    """sha256 of the files, whose names tell the attempt; Petastorm's metadata holds those names."""
    manifest = Manifest.from_json((out / MANIFEST_FILE).read_text(), str(out))
    return [entry.sha256 for entry in manifest.files if not entry.path.endswith("_common_metadata")]


@pytest.fixture(scope="module")
def whole(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Whole:
    folder = tmp_path_factory.mktemp("whole")
    sample, lake, out = folder / "sample", folder / "lake", folder / "packed"
    make_sample(out=sample, size="tiny")
    ingest(logs=str(sample), lake=str(lake))
    prepare_news(news=sample, lake=str(lake))
    build_trajectories(lake=str(lake))
    began = time.monotonic()
    running = start(lake, out)
    while running.poll() is None and not list(folder.glob(".packed.*")):
        time.sleep(0.05)
    begins = time.monotonic() - began
    finish(running)
    return Whole(lake, begins, time.monotonic() - began, made(out))


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_killed_run_leaves_all_or_nothing_and_the_next_makes_what_one_run_makes(
    whole: Whole, tmp_path: Path, moment: int
) -> None:
    out = tmp_path / "packed"
    running = start(whole.lake, out)
    time.sleep(random.Random(moment).uniform(0.9 * whole.begins, whole.seconds))
    os.killpg(running.pid, signal.SIGKILL)
    running.communicate()
    if out.exists():
        describe(PackedDirectory.open(out))
        assert made(out) == whole.made
    finish(start(whole.lake, out))
    describe(PackedDirectory.open(out))
    assert made(out) == whole.made
    assert list(tmp_path.iterdir()) == [out]
