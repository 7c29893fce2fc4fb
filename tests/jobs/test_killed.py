"""Each stage is killed by SIGKILL, with its JVM, at moments over its run, and run again: the same results."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from pyspark.sql import SparkSession

from jobs.make_sample import make_sample
from pipelines.histories import with_history
from pipelines.lake.tables import Lake
from schemas.impression import HISTORIES, IMPRESSIONS
from schemas.manifest import MANIFEST_FILE
from tests.engines import Engine, finish, started
from tests.pipelines.packing.drawn import contents
from tests.same_bits import CLOCKS, held
from trainer.data.description import describe
from trainer.data.directory import PackedDirectory

MOMENTS = 20
IN_CI = ("embedded", 12)
_COUNTED = ("corpus",)  # the version at which a corpus was counted: a killed run may have counted before


class Stage(NamedTuple):
    """A job, its options ({0}: the folder of samples, {1}: that of the lake), and what must hold at any moment."""

    job: str
    options: str
    sound: Callable[[SparkSession, Path, Reference], None] = lambda *_: None
    made: Callable[[SparkSession, Path], Any] = lambda spark, folder: tables(spark, folder)
    empty: bool = False  # begins without a lake


class Reference(NamedTuple):
    """A run that was not killed: its initial state, when it began to write, how long it took, what it made."""

    before: Path | None
    begins: float
    seconds: float
    made: Any


def tables(spark: SparkSession, folder: Path) -> dict[str, list[str]]:
    return held(Lake(spark, str(folder / "lake")), but=[*CLOCKS, *_COUNTED])


def directory(_: SparkSession, folder: Path) -> dict[str, str]:
    """The files of a complete packed directory; Petastorm's metadata holds the names of attempts."""
    describe(PackedDirectory.open(folder / "packed"))
    files = contents(folder / "packed").items()
    return {name: hashlib.sha256(reported).hexdigest() for name, reported in files if name != MANIFEST_FILE}


def has_histories(spark: SparkSession, folder: Path, _: Reference) -> None:
    """No impression lacks its history."""
    lake = Lake(spark, str(folder / "lake"))
    if lake.exists(IMPRESSIONS) and lake.exists(HISTORIES):
        impressions = lake.read(IMPRESSIONS)
        assert with_history(impressions, lake.read(HISTORIES)).count() == impressions.count()


def is_complete_or_absent(spark: SparkSession, folder: Path, reference: Reference) -> None:
    if (folder / "packed").exists():
        assert directory(spark, folder) == reference.made


def holds_the_same(spark: SparkSession, folder: Path, reference: Reference) -> None:
    assert tables(spark, folder) == reference.made


STAGES = {
    "ingest": Stage("ingest", "--logs {0}/sample --max-batch-bytes 300000", sound=has_histories, empty=True),
    "replay": Stage("ingest", "--replay --earliest 2026-03-04 --max-reject-share 1", sound=has_histories),
    "prepare_news": Stage(
        "prepare_news", "--news {0}/sample --fields title --fields body --near-duplicates .6 --new-corpus"
    ),
    "build_trajectories": Stage("build_trajectories", "--targets all --variants 2 --window 5"),
    "pack": Stage(
        "pack",
        "--out {1}/packed --batch-trajectories 8 --shard-trajectories 60",
        sound=is_complete_or_absent,
        made=directory,
    ),
    "maintain": Stage("maintain", "--zorder --retention-days 0 --below-safe-retention", sound=holds_the_same),
}


def start(stage: Stage, engine: Engine, samples: Path, folder: Path) -> Any:
    options = stage.options.format(samples, folder).split()
    return started(engine, f"jobs.{stage.job}", "--lake", str(folder / "lake"), *options)


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A publisher's logs and news, and the first of these news."""
    folder = tmp_path_factory.mktemp("samples")
    make_sample(out=folder / "sample", size="tiny")
    lines = (folder / "sample" / "news.jsonl").read_bytes().splitlines(keepends=True)
    (folder / "first").mkdir()
    (folder / "first" / "news.jsonl").write_bytes(b"".join(lines[:240]))
    return folder


@pytest.fixture(scope="module")
def lake_of(samples: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[Engine], Path]:
    """A folder with a lake that an engine made in several batches, with trajectories; made once."""
    made: dict[Engine, Path] = {}

    def lake_of(engine: Engine) -> Path:
        if engine not in made:
            made[engine] = tmp_path_factory.mktemp(engine)
            first = Stage("prepare_news", "--news {0}/first")
            for stage in (STAGES["ingest"], first, Stage("build_trajectories", "")):
                finish(start(stage, engine, samples, made[engine]))
        return made[engine]

    return lake_of


@pytest.fixture(scope="module")
def reference_of(
    spark: SparkSession,
    samples: Path,
    lake_of: Callable[[Engine], Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[[str, Engine], Reference]:
    """Runs that were not killed, each made once."""
    made: dict[tuple[str, Engine], Reference] = {}

    def reference_of(name: str, engine: Engine) -> Reference:
        if (name, engine) not in made:
            stage = STAGES[name]
            folder = tmp_path_factory.mktemp(f"{name}-{engine}")
            before = None if stage.empty else lake_of(engine)
            copy(before, folder)
            paths = set(folder.rglob("*"))
            began = time.monotonic()
            running = start(stage, engine, samples, folder)
            while running.poll() is None and paths == set(folder.rglob("*")):
                time.sleep(0.05)
            begins = time.monotonic() - began
            finish(running)
            made[name, engine] = Reference(before, begins, time.monotonic() - began, stage.made(spark, folder))
        return made[name, engine]

    return reference_of


def copy(lake: Path | None, folder: Path) -> None:
    if lake is not None:
        shutil.copytree(lake / "lake", folder / "lake")


@pytest.mark.parametrize(
    ("engine", "moment"),
    [
        pytest.param(engine, moment, marks=() if (engine, moment) == IN_CI else pytest.mark.slow)
        for engine in ("embedded", "spark")
        for moment in range(MOMENTS)
    ],
)
@pytest.mark.parametrize("name", STAGES)
def test_a_killed_run_and_another_make_what_one_run_makes(
    spark: SparkSession,
    samples: Path,
    reference_of: Callable[[str, Engine], Reference],
    record_property: Callable[[str, object], None],
    tmp_path: Path,
    name: str,
    engine: Engine,
    moment: int,
) -> None:
    stage, reference = STAGES[name], reference_of(name, engine)
    copy(reference.before, tmp_path)
    running = start(stage, engine, samples, tmp_path)
    time.sleep(reference.begins * 0.9 + (reference.seconds - reference.begins * 0.9) * (moment + 0.5) / MOMENTS)
    os.killpg(running.pid, signal.SIGKILL)
    running.communicate()
    record_property("was_running", running.returncode == -signal.SIGKILL)
    stage.sound(spark, tmp_path, reference)
    finish(start(stage, engine, samples, tmp_path))
    assert stage.made(spark, tmp_path) == reference.made
    assert {path.name for path in tmp_path.iterdir()} <= {"lake", "packed"}
