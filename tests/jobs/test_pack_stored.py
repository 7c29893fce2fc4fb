"""The job pack with a real S3 server: killed by SIGKILL at any request, two at once, then run again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
from pyspark.sql import SparkSession

from jobs.cli.command_line import run
from jobs.pack import pack
from schemas.storage import files
from schemas.storage.place import Place
from tests.conftest import REPOSITORY
from tests.jobs import dying
from tests.object_store import new_bucket
from tests.pipelines.packing.drawn_lake import drawn_lake
from tests.pipelines.packing.stored import manifest_at, names_below, no_leftovers, sums

OPTIONS = ["--source", "p", "--batch-trajectories", "4", "--batch-items", "30", "--shard-trajectories", "25"]
MOMENTS = [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]  # of all requests up to the commit, which is the last of them


class Reference(NamedTuple):
    """A lake, the output of a run that was not killed, and its requests."""

    lake: Path
    made: dict[str, str]
    requests: list[str]

    @property
    def commit(self) -> int:
        """The number of the request that puts the manifest."""
        return self.requests.index("create")


@pytest.fixture(scope="module")
def reference(spark: SparkSession, _object_store: None, tmp_path_factory: pytest.TempPathFactory) -> Reference:
    lake = tmp_path_factory.mktemp("lake")
    drawn_lake(spark, lake)
    out, requests = Place.of(new_bucket()) / "packed", list[str]()
    files.write(out / "build-0123456789ab/x", b"of a dead run")
    with pytest.MonkeyPatch.context() as patch:
        for name in dying.CHANGES:  # put back afterwards
            patch.setattr(dying.ObjectStore, name, getattr(dying.ObjectStore, name))
        dying.noting(requests.append)
        assert run(pack, ["--lake", str(lake), "--out", str(out), *OPTIONS]) == 0
    return Reference(lake, sums(manifest_at(out)), requests)


def start(lake: Path, out: Place, *, dies: int = -1) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tests.jobs.dying", str(dies), "pack", "--lake", str(lake), "--out", str(out)]
    env = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    return subprocess.Popen([*command, *OPTIONS], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def killed(reference: Reference, out: Place, number: int) -> None:
    running = start(reference.lake, out, dies=number)
    _, said = running.communicate(timeout=300)
    assert running.returncode == -signal.SIGKILL, said.decode()


def packed_again(reference: Reference, out: Place) -> bool:
    """Whether the next run makes what one run makes, and leaves nothing else."""
    assert run(pack, ["--lake", str(reference.lake), "--out", str(out), *OPTIONS]) == 0
    return sums(manifest_at(out)) == reference.made and no_leftovers(out)


@pytest.mark.parametrize(
    "share", [pytest.param(at, marks=() if at in (0.4, 1.0) else pytest.mark.slow) for at in MOMENTS]
)
def test_a_run_killed_before_its_commit_made_nothing_and_the_next_sweeps(
    reference: Reference, bucket: str, share: float
) -> None:
    out = Place.of(bucket) / "packed"
    killed(reference, out, round(share * reference.commit))
    assert all(name.startswith("build-") for name in names_below(out))
    assert packed_again(reference, out)


@pytest.mark.parametrize("later", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_run_killed_after_its_commit_made_all_and_the_next_sweeps(
    reference: Reference, bucket: str, later: int
) -> None:
    out = Place.of(bucket) / "packed"
    for number in range(3):
        files.write(out / f"build-0123456789a{number}/x", b"of a dead run")
    killed(reference, out, reference.commit + later)
    manifest = manifest_at(out)
    assert sums(manifest) == reference.made
    assert not no_leftovers(out)
    assert packed_again(reference, out)
    assert manifest_at(out) == manifest


def test_two_at_once_make_one_directory(reference: Reference, bucket: str) -> None:
    out = Place.of(bucket) / "packed"
    both = [start(reference.lake, out) for _ in range(2)]
    for running in both:
        printed, said = running.communicate(timeout=300)
        assert running.returncode == 0, said.decode()
        assert json.loads(printed)["out"] == str(out)
    assert sums(manifest_at(out)) == reference.made
    assert no_leftovers(out)


def test_a_bucket_that_is_not_there_is_one_message(reference: Reference, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--lake", str(reference.lake), "--out", "s3a://not-there-at-all/packed", *OPTIONS]
    assert run(pack, options) == 2
    assert "s3://not-there-at-all" in capsys.readouterr().err
