"""forget where nothing but a bucket is shared: packed directories, runs and the lake lie behind URLs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from jobs.build_trajectories import build_trajectories
from jobs.cli.command_line import run
from jobs.forget import forget
from jobs.pack import pack
from pipelines.lake.tables import Lake
from schemas.manifest import EVALUATION_FOLDER
from schemas.storage import files
from schemas.storage.copies import fetch, publish
from schemas.storage.place import Place
from tests.between import Between, Moment, between
from tests.conftest import REPOSITORY
from tests.engines import finish
from tests.jobs.leased_briefly import briefly, wait_for_the_dead
from tests.jobs.test_forget import Whole, evaluated, kept, summary, whole
from tests.object_store import new_bucket
from tests.pipelines.packing.stored import manifest_at, no_leftovers
from tests.traces import traces

__all__ = ["whole"]  # a fixture

AT_ONCE = ("--rebuild", "--vacuum-now")


@pytest.fixture
def there(whole: Whole, bucket: str) -> Place:
    return made(whole, bucket)


def made(whole: Whole, bucket: str) -> Place:
    """The lake, a packed directory made of it, and what runs have left."""
    place = Place.of(bucket)
    publish(whole.folder / "lake", place / "lake")
    summary(pack, "--lake", place / "lake", "--out", place / "packs" / "one")
    publish(whole.folder / "run", place / "runs" / "run")
    for at, version in ((place / "runs" / "run" / "checkpoint" / "step-1", 0), (place / "runs" / "new", 10**6)):
        files.write(at / "state.json", json.dumps({"data": {"inputs": {"trajectories": version}}}).encode())
    return place


def words(whole: Whole, there: Place, *more: str) -> list[str]:
    named = {"lake": there / "lake", "user-file": whole.folder / "users.txt", "packed": there / "packs"}
    named["runs"] = there / "runs"
    return [*(str(word) for name, value in named.items() for word in (f"--{name}", value)), *more]


def told(whole: Whole, there: Place, *more: str) -> dict[str, Any]:
    return summary(forget, *words(whole, there, *more))


def holdings(done: dict[str, Any], there: Place) -> list[tuple[str, str, str]]:
    return [(each["path"].removeprefix(f"{there}/"), each["kind"], each["done"]) for each in done["holdings"]]


def check_forgotten(spark: SparkSession, whole: Whole, there: Place, to: Path) -> None:
    fetch(there, to)
    assert traces(to, whole.named) == []
    assert kept(Lake(spark, there / "lake"), whole.user) == whole.kept
    out = there / "packs" / "one"
    assert no_leftovers(out)
    others = {pair for pair in evaluated(whole.folder / "packed") if pair[0] != whole.user}
    assert evaluated(to / "packs" / "one" / manifest_at(out).build) == others
    assert json.loads((to / "runs" / "run" / "examples.json").read_text()) == [{"user_id": "someone else"}]


def test_what_holds_users_is_named_then_mended_by_its_url(
    spark: SparkSession, whole: Whole, there: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    dead = there / "packs" / "one" / "build-0123456789ab"
    files.write(dead / EVALUATION_FOLDER / "x.parquet", whole.user.encode())
    before = manifest_at(there / "packs" / "one")
    named = ("packs/one", "packed directory")
    left = ("packs/one/build-0123456789ab", "build of a packed directory")
    trained = ("runs/run/checkpoint/step-1", "checkpoint", "")
    first = holdings(told(whole, there), there)
    assert first == [
        (*left, ""),
        (*named, ""),
        trained,
        ("runs/run/examples.json", "file", "written anew without them"),
    ]
    assert manifest_at(there / "packs" / "one") == before
    second = holdings(told(whole, there, "--rebuild", "--vacuum-now"), there)
    assert second == [(*left, "removed"), (*named, "packed again"), trained]
    check_forgotten(spark, whole, there, tmp_path / "fetched")
    assert holdings(told(whole, there, "--rebuild"), there) == [trained]
    assert list((tmp_path / "empty").iterdir()) == []


def test_a_directory_is_not_packed_again_from_trajectories_that_other_options_made(whole: Whole, there: Place) -> None:
    summary(build_trajectories, "--lake", there / "lake", "--window", 3)
    before = manifest_at(there / "packs" / "one")
    ((first, *_),) = [told(whole, there, "--rebuild")["holdings"]]
    assert first["reason"].endswith(
        "not packed again: the lake's trajectories have since been built with other options. Build them with those of "
        "the packed directory, and pack again"
    )
    assert manifest_at(there / "packs" / "one") == before
    assert no_leftovers(there / "packs" / "one")


@pytest.mark.parametrize(("option", "name"), [("packed", "none"), ("runs", "none"), ("packed", "lake")])
def test_what_is_not_there_is_told_by_its_url(
    whole: Whole, there: Place, capsys: pytest.CaptureFixture[str], option: str, name: str
) -> None:
    given = words(whole, there)
    given[given.index(f"--{option}") + 1] = str(there / name)
    assert run(forget, given) == 2
    assert f"{there / name}: {'no packed directory lies' if name == 'lake' else 'there is no such'}" in (
        " ".join(capsys.readouterr().err.split())
    )


def start(whole: Whole, there: Place, proxy: Between) -> subprocess.Popen[bytes]:
    env = os.environ | {"PYTHONPATH": str(REPOSITORY), "AWS_ENDPOINT_URL": proxy.url}
    command = [sys.executable, "-m", "tests.jobs.leased_briefly", "forget", *words(whole, there, *AT_ONCE)]
    proxy.victim = subprocess.Popen(
        command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True
    )
    return proxy.victim


@pytest.mark.parametrize(
    ("share", "of", "side"),
    [
        (1.0, "manifest.json", "after"),  # what the manifest no longer names is there yet
        pytest.param(1.0, "manifest.json", "before", marks=pytest.mark.slow),
        *[pytest.param((at + 0.5) / 12, "all", "after", marks=pytest.mark.slow) for at in range(12)],
    ],
)
def test_killed_at_a_request_another_run_forgets_what_one_run_forgets(
    spark: SparkSession,
    whole: Whole,
    there: Place,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    share: float,
    of: str,
    side: Any,
) -> None:
    at = f"/{of}" if share == 1 else round(share * request.getfixturevalue("requests"))
    with between(os.environ["AWS_ENDPOINT_URL"], Moment(at, side)) as proxy:
        _, said = (running := start(whole, there, proxy)).communicate(timeout=300)
    assert running.returncode == -signal.SIGKILL, said.decode()
    if share == 1:
        assert not no_leftovers(there / "packs" / "one")
    briefly(monkeypatch)
    assert wait_for_the_dead(there / "lake") > 0
    told(whole, there, *AT_ONCE)
    check_forgotten(spark, whole, there, tmp_path / "fetched")


@pytest.fixture(scope="module")
def requests(whole: Whole, _object_store: None) -> int:
    """How many requests change something in a run that nobody kills."""
    with between(os.environ["AWS_ENDPOINT_URL"]) as proxy:
        finish(start(whole, made(whole, new_bucket()), proxy))
    return len(proxy.requests)
