"""The job forget on a publisher's whole lake: nothing of a user is left, whatever moment it is killed at."""

from __future__ import annotations

import io
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from jobs.build_trajectories import build_trajectories
from jobs.cli.command_line import Job, run
from jobs.forget import forget
from jobs.ingest import ingest
from jobs.make_sample import make_sample
from jobs.pack import pack
from jobs.prepare_news import prepare_news
from pipelines.forget.erase_rows import ERASED
from pipelines.lake.tables import Lake
from pipelines.packing.repack import finish_repack
from pipelines.packing.write import existing_manifest
from schemas.impression import IMPRESSIONS
from schemas.raw_log import RAW_LOG, REJECTS
from schemas.trajectory import EVALUATION, TRAJECTORIES
from tests.builders import rows
from tests.conftest import REPOSITORY
from tests.traces import traces

MOMENTS = [pytest.param(at, marks=() if at < 1 else pytest.mark.slow) for at in range(12)]
OPTIONS = ("--packed", "packed", "--runs", "run", "--rebuild", "--vacuum-now")


class Whole(NamedTuple):
    """A folder with a lake, a packed directory and a run; whom to forget, and what is kept of the others."""

    folder: Path
    user: str
    kept: dict[str, list[Any]]

    @property
    def named(self) -> str:
        """What finds the user's id, and no longer one."""
        return rf"(?<![\w-]){re.escape(self.user)}(?![\w-])"


def summary(job: Job, *options: object) -> dict[str, Any]:
    with redirect_stdout(io.StringIO()) as said:
        assert run(job, [str(option) for option in options]) == 0
    return dict(json.loads(said.getvalue().splitlines()[-1]))


def kept(lake: Lake, user: str) -> dict[str, list[Any]]:
    """Everybody else's rows of the tables that name a user in a column."""
    return {
        table.name: rows(lake.read(table).where(F.col("user_id") != user))
        for table in ERASED
        if "user_id" in table.column_names
    }


def evaluated(packed: Path) -> set[tuple[str, str]]:
    """(user, impression) of a packed directory's evaluation."""
    tables = [pq.read_table(file, partitioning=None) for file in (packed / "evaluation").glob("*.parquet")]
    return {(row["user_id"], row["impression_id"]) for table in tables for row in table.to_pylist()}


@pytest.fixture(scope="module")
def whole(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Whole:
    folder = tmp_path_factory.mktemp("whole")
    make_sample(out=folder / "sample", size="tiny", seed=5)
    for job in (ingest, prepare_news, build_trajectories, pack):
        where: dict[Any, tuple[object, ...]] = {
            ingest: ("--logs", folder / "sample"),
            prepare_news: ("--news", folder / "sample"),
            pack: ("--out", folder / "packed"),
        }
        summary(job, *where.get(job, ()), "--lake", folder / "lake")
    lake = Lake(spark, str(folder / "lake"))
    both = lake.read(TRAJECTORIES).join(lake.read(EVALUATION).select("user_id"), "user_id", how="left_semi")
    last = both.orderBy(F.desc("user_id")).first()  # u00001 looks like the NUL and 1 of a broken line in JSON
    assert last is not None
    user = str(last["user_id"])
    (folder / "run").mkdir()
    (folder / "run" / "examples.json").write_text(json.dumps([{"user_id": user}, {"user_id": "someone else"}]))
    (folder / "users.txt").write_text(f"{user}\n")
    return Whole(folder, user, kept(lake, user))


def copied(whole: Whole, to: Path) -> Path:
    for name in ("lake", "packed", "run"):
        shutil.copytree(whole.folder / name, to / name)
    shutil.copy(whole.folder / "users.txt", to)
    return to


def check_forgotten(spark: SparkSession, whole: Whole, folder: Path) -> None:
    for name in ("lake", "packed", "run"):
        assert traces(folder / name, whole.named) == []
    lake = Lake(spark, str(folder / "lake"))
    assert kept(lake, whole.user) == whole.kept
    assert {table: lake.read(t).count() for t in ERASED if (table := t.name) in whole.kept} == {
        table: len(found) for table, found in whole.kept.items()
    }
    assert existing_manifest(folder / "packed") is not None
    others = {pair for pair in evaluated(whole.folder / "packed") if pair[0] != whole.user}
    assert evaluated(folder / "packed") == others
    assert json.loads((folder / "run" / "examples.json").read_text()) == [{"user_id": "someone else"}]


def test_a_user_is_forgotten_everywhere_and_stays_out(
    spark: SparkSession,
    whole: Whole,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(copied(whole, tmp_path))
    assert len(traces(tmp_path, whole.named)) > 10
    done = summary(forget, "--lake", "lake", "--user-file", "users.txt", *OPTIONS)
    assert "--vacuum-now: files and log of old versions go at once" in capsys.readouterr().err
    check_forgotten(spark, whole, tmp_path)
    lost = done["rows_erased"]
    assert all(lost[table.name] > 0 for table in (RAW_LOG, IMPRESSIONS, TRAJECTORIES, EVALUATION))
    assert (done["asked"], done["found"], done["not_found"]) == (1, 1, 0)
    assert [(each["kind"], each["done"]) for each in done["holdings"]] == [
        ("packed directory", "packed again"),
        ("file", "written anew without them"),
    ]
    assert whole.user not in json.dumps(done["users"])
    refused = rows(Lake(spark, "lake").read(REJECTS))
    (tmp_path / "again" / "logs").mkdir(parents=True)
    for file in (whole.folder / "sample" / "logs").iterdir():  # under other names
        shutil.copy(file, tmp_path / "again" / "logs" / f"again-{file.name}")
    told = summary(ingest, "--logs", "again", "--lake", "lake")
    assert told["suppressed"] == lost["raw_log"]
    assert told["impressions"] == 0
    assert len(rows(Lake(spark, "lake").read(REJECTS))) == 2 * len(refused)
    summary(ingest, "--replay", "--lake", "lake")
    assert kept(Lake(spark, "lake"), whole.user) == whole.kept
    assert traces(tmp_path / "lake", whole.named) == []


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_killed_run_and_another_forget_what_one_run_forgets(
    spark: SparkSession, whole: Whole, tmp_path: Path, moment: int
) -> None:
    copied(whole, tmp_path)
    command = [sys.executable, "-m", "jobs.forget", "--lake", "lake", "--user-file", "users.txt", *OPTIONS]
    how: dict[str, Any] = {"cwd": tmp_path, "env": os.environ | {"PYTHONPATH": str(REPOSITORY)}}
    running = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True, **how
    )
    end = time.monotonic() + 300
    while running.poll() is None and not (tmp_path / "lake" / "suppressions").exists() and time.monotonic() < end:
        time.sleep(0.01)
    time.sleep(random.Random(moment).uniform(0, 6))
    if running.poll() is None:
        os.killpg(running.pid, signal.SIGKILL)
    running.communicate()
    done = subprocess.run(command, capture_output=True, text=True, check=False, **how)
    assert done.returncode == 0, done.stderr
    check_forgotten(spark, whole, tmp_path)


def test_without_rebuild_what_holds_users_is_only_named(
    whole: Whole, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(copied(whole, tmp_path))
    before = evaluated(Path("packed"))
    done = summary(forget, "--lake", "lake", "--user-file", "users.txt", "--packed", "packed")
    ((path, kind, reason, what),) = [[each[n] for n in ("path", "kind", "reason", "done")] for each in done["holdings"]]
    assert (path, kind, what) == ("packed", "packed directory", "")
    assert re.fullmatch(r"holds \d+ impressions of forgotten users", reason)
    assert evaluated(Path("packed")) == before
    assert done["removed"] == []
    assert done["removable_from"] > time.strftime("%Y-%m-%d")


def test_a_directory_that_was_stopped_between_two_names_has_its_name_again(whole: Whole, tmp_path: Path) -> None:
    for made, left in ((".packed.again", ".packed.replaced"), (None, ".packed.replaced")):
        for name in filter(None, (made, left)):
            shutil.copytree(whole.folder / "packed", tmp_path / name)
        (tmp_path / left / "old").touch()
        finish_repack(tmp_path / "packed")
        assert existing_manifest(tmp_path / "packed") is not None
        assert (tmp_path / "packed" / "old").exists() == (made is None)
        assert [path.name for path in tmp_path.iterdir()] == ["packed"]
        shutil.rmtree(tmp_path / "packed")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--user-file", "absent"), "absent: there is no such file"),
        (("--user-file", "empty"), "empty: holds no user id"),
        (("--user-file", "users.txt", "--packed", "absent"), "absent: there is no such folder"),
        (("--user-file", "users.txt", "--runs", "absent"), "absent: there is no such folder"),
        (("--user-file", "users.txt", "--lake", "nowhere"), "nothing was ingested here"),
    ],
)
def test_what_cannot_be_done_is_one_message_and_exit_code_2(
    whole: Whole,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    options: tuple[str, ...],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").touch()
    (tmp_path / "users.txt").write_text("u1\n")
    lake = () if "--lake" in options else ("--lake", str(whole.folder / "lake"))
    assert run(forget, [*options, *lake]) == 2
    assert message in capsys.readouterr().err
    assert not (whole.folder / "lake" / "suppressions").exists()
