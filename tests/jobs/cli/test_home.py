"""Users without a name or a home, and locales without UTF-8: jobs work as for any other user."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from tests.jobs.test_door import DOOR, LINE, call
from tests.nobody import UID, as_nobody

LIBRARIES = """
import getpass, os, pathlib
import jobs
import matplotlib, torch._inductor.runtime.cache_dir_utils as inductor
assert matplotlib.get_cachedir() and inductor.cache_dir()
import pipelines.packing.compiled
print(getpass.getuser(), pathlib.Path.home(), os.access(pathlib.Path.home(), os.W_OK))
"""


SPARK = """
import sys
from pipelines.engine.local_spark import build_session
session = build_session("test")
(row,) = session.read.text(sys.argv[1]).collect()
print(session.sparkContext.sparkUser(), row["value"])
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that another user can reach: pytest's own are closed to others."""
    made = Path(tempfile.mkdtemp(prefix="feedloop-test-", dir="/tmp"))
    yield made
    shutil.rmtree(made)


def test_libraries_find_a_home_and_a_name_that_are_not_there(folder: Path) -> None:
    done = as_nobody(folder, [sys.executable, "-c", LIBRARIES], {"PYTHONPATH": str(REPOSITORY)})
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"uid{UID} {folder}/feedloop-home-{UID} True\n"


def test_a_home_that_is_there_stays(folder: Path) -> None:
    program = "import os, jobs; print(os.environ['HOME'], 'NUMBA_CACHE_DIR' in os.environ)"
    home = folder / "own"
    home.mkdir()
    done = as_nobody(folder, [sys.executable, "-c", program], {"PYTHONPATH": str(REPOSITORY), "HOME": str(home)})
    assert done.stdout == f"{home} False\n", done.stderr
    (folder / "models" / ".cache").mkdir(parents=True)
    (folder / "models").chmod(0o555)  # models that were fetched before can be read
    env = {"PYTHONPATH": str(REPOSITORY), "HOME": str(folder / "models")}
    done = as_nobody(folder, [sys.executable, "-c", program], env)
    assert done.stdout == f"{folder / 'models'} True\n", done.stderr


def test_spark_starts_for_a_nameless_user_and_reads_names_of_any_letters(folder: Path) -> None:
    (folder / "journée 日本.txt").write_text("é\n", "utf-8")
    env = {"LC_ALL": "C", "FEEDLOOP_DRIVER_MEMORY": "700m", "PYTHONPATH": str(REPOSITORY)}
    done = as_nobody(folder, [sys.executable, "-c", SPARK, folder / "journée 日本.txt"], env)
    assert (done.returncode, done.stderr, done.stdout) == (0, "", f"uid{UID} é\n")


@pytest.mark.slow
def test_a_nameless_user_without_a_home_ingests_names_of_any_letters_under_any_locale(folder: Path) -> None:
    same = {"LC_ALL": "C", "FEEDLOOP_DRIVER_MEMORY": "1g", "JAVA_HOME": os.environ.get("JAVA_HOME", "")}
    call("package", "--out", str(folder / "package"), env={**os.environ, **same})  # sets up for this Java
    logs = folder / "données 日本" / "logs"
    logs.mkdir(parents=True)
    (logs / "journée.jsonl").write_text(json.dumps(LINE) + "\nnot json\n", "utf-8")
    options = ["--logs", logs.parent, "--lake", folder / "lac é"]
    done = as_nobody(folder, [DOOR, "ingest", *options], same)
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert [summary[name] for name in ("lines", "impressions", "rejected")] == [2, 1, 1]
    refused = as_nobody(folder, [DOOR, "ingest", *options], {**same, "JAVA_HOME": "/another"})
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert "is not this user's to set up. Let its owner run ./feedloop setup once" in refused.stderr
    assert (folder / "lac é" / "impressions" / "_delta_log").is_dir()
