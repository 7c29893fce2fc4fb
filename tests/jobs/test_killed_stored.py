"""Each stage of a lake on a real S3 server, killed by SIGKILL right before or after a request, and run again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pytest
from pyspark.sql import SparkSession

from jobs.cli.command_line import run
from jobs.maintain import maintain
from pipelines.delta.log import open_table
from pipelines.delta.table_ddl import TABLES
from pipelines.histories import with_history
from pipelines.ingest.batch.replace_rows import finish_replacements
from pipelines.lake.tables import Lake
from schemas.impression import HISTORIES, IMPRESSIONS
from schemas.storage.copies import publish
from schemas.storage.files import below, inside, write
from schemas.storage.place import Place
from tests.between import Between, Moment, between
from tests.conftest import REPOSITORY
from tests.engines import finish
from tests.jobs.leased_briefly import briefly, wait_for_the_dead
from tests.jobs.test_killed import STAGES, lake_of, samples
from tests.object_store import new_bucket
from tests.same_bits import CLOCKS, held

__all__ = ["lake_of", "samples"]  # fixtures

MOMENTS = 20
IN_CI = {("ingest", 12)}
NAMES = ("ingest", "replay", "prepare_news", "build_trajectories", "maintain")


class Whole(NamedTuple):
    """A run that nobody killed: where it started from, how many requests changed something, what it made."""

    before: Path | None
    requests: int
    made: dict[str, list[str]]
    beside: set[str]


def begin(name: str, samples: Path, lake: Place, proxy: Between) -> subprocess.Popen[bytes]:
    stage = STAGES[name]
    words = [sys.executable, "-m", "tests.jobs.leased_briefly", stage.job, "--lake", str(lake)]
    env = os.environ | {"PYTHONPATH": str(REPOSITORY), "AWS_ENDPOINT_URL": proxy.url, "FEEDLOOP_ENGINE": "embedded"}
    for variable in [each for each in env if each.startswith("SPARK_")]:  # what this process' own session has set
        del env[variable]
    proxy.victim = subprocess.Popen(
        [*words, *stage.options.format(samples, "").split()],
        env=env,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    return proxy.victim


def tables(spark: SparkSession, lake: Place) -> dict[str, list[str]]:
    return held(Lake(spark, lake), but=[*CLOCKS, "corpus"])


def beside(lake: Place) -> set[str]:
    """What lies in the lake beside tables."""
    return set(inside(lake)[0]) - {table.name for table in TABLES}


def uncommitted(spark: SparkSession, lake: Place) -> list[str]:
    """Files of tables that their latest versions do not name."""
    found: list[str] = []
    for table in (table for table in TABLES if Lake(spark, lake).exists(table)):
        named = set(pa.table(open_table(f"{lake}/{table.name}").get_add_actions()).column("path").to_pylist())
        there = {name for name, _ in below(lake / table.name) if not name.startswith("_delta_log/")}
        found += [f"{table.name}/{name}" for name in there - named]
    return found


def has_histories(spark: SparkSession, at: Place) -> None:
    """No impression lacks its history."""
    lake = Lake(spark, at)
    if lake.exists(IMPRESSIONS) and lake.exists(HISTORIES):
        impressions = lake.read(IMPRESSIONS)
        assert with_history(impressions, lake.read(HISTORIES)).count() == impressions.count()


def lake_at(bucket: str, before: Path | None) -> Place:
    lake = Place.of(bucket) / "lake"
    if before is not None:
        publish(before / "lake", lake)
    return lake


@pytest.fixture(scope="module")
def whole_of(
    spark: SparkSession, samples: Path, lake_of: Callable[[str], Path], _object_store: None
) -> Callable[[str], Whole]:
    """Runs that nobody killed, each made once."""
    made: dict[str, Whole] = {}

    def whole_of(name: str) -> Whole:
        if name not in made:
            before = None if STAGES[name].empty else lake_of("embedded")
            lake = lake_at(new_bucket(), before)
            with between(os.environ["AWS_ENDPOINT_URL"]) as proxy:
                finish(begin(name, samples, lake, proxy))
            made[name] = Whole(before, len(proxy.requests), tables(spark, lake), beside(lake))
        return made[name]

    return whole_of


@pytest.mark.parametrize(
    ("name", "at"),
    [
        pytest.param(name, at, marks=() if (name, at) in IN_CI else pytest.mark.slow)
        for at in range(MOMENTS)
        for name in NAMES
    ],
)
def test_a_killed_run_and_another_make_what_one_run_makes(
    spark: SparkSession,
    samples: Path,
    whole_of: Callable[[str], Whole],
    bucket: str,
    record_property: Callable[[str, object], None],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    at: int,
) -> None:
    whole = whole_of(name)
    lake = lake_at(bucket, whole.before)
    moment = Moment(round((at + 0.5) / MOMENTS * whole.requests), "before" if at % 2 else "after")
    with between(os.environ["AWS_ENDPOINT_URL"], moment) as proxy:
        _, said = (running := begin(name, samples, lake, proxy)).communicate(timeout=500)
    assert running.returncode in (0, -signal.SIGKILL), said.decode()
    record_property("killed", str((running.returncode == -signal.SIGKILL, moment, proxy.requests[-1])))
    briefly(monkeypatch)
    has_histories(spark, lake)
    wait_for_the_dead(lake)
    with between(os.environ["AWS_ENDPOINT_URL"]) as proxy:
        finish(begin(name, samples, lake, proxy))
    assert tables(spark, lake) == whole.made
    assert beside(lake) == whole.beside, "what the killed run left is swept, or gone with its own run"
    if at % 5 == 1:
        assert run(maintain, ["--lake", str(lake), "--retention-days", "0", "--below-safe-retention"]) == 0
        assert uncommitted(spark, lake) == []
        assert tables(spark, lake) == whole.made


def test_what_a_killed_replay_has_made_goes_with_the_next_ingest(spark: SparkSession, bucket: str) -> None:
    lake = Place.of(bucket) / "lake"
    write(lake / "_replay" / "0123" / "impressions" / "part-0.parquet", b"rows of anyone")
    finish_replacements(Lake(spark, lake))
    assert not [*below(lake)]
