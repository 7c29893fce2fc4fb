"""./feedloop as a user calls it: from any folder, with and without Java, on a machine that lacks programs."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

DOOR = REPOSITORY / "feedloop"
LINE = {
    "impression_id": "i1",
    "user_id": "u1",
    "time": "2026-03-02T09:15:31Z",
    "history": ["n2"],
    "shown": ["n1", "n2"],
    "clicked": ["n1"],
}


def call(
    *argv: str, door: Path = DOOR, cwd: Path = REPOSITORY, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(door), *argv], cwd=cwd, env=env, capture_output=True, text=True, check=False)


def path_without(folder: Path, *prefixes: str) -> str:
    """A PATH of links to all programs of the real one, except those whose names begin with a prefix."""
    folder.mkdir()
    for place in os.environ["PATH"].split(os.pathsep):
        if "shims" in place or not Path(place).is_dir():
            continue  # a version manager's shims are all one program that looks at PATH again
        for program in Path(place).iterdir():
            if not program.name.startswith(prefixes) and not (folder / program.name).is_symlink():
                (folder / program.name).symlink_to(program)
    return str(folder)


def copy_of_the_tree(folder: Path) -> Path:
    """The files of a fresh clone."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=REPOSITORY, capture_output=True, text=True, check=True,
    )  # fmt: skip
    for name in filter(None, listed.stdout.split("\0")):
        if (REPOSITORY / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(REPOSITORY / name, folder / name)
    return folder / "feedloop"


_ENGINE = ("FEEDLOOP_ENGINE", "FEEDLOOP_MASTER", "SPARK_REMOTE")


def test_help_names_every_job_with_its_one_line() -> None:
    done = call("--help")
    assert done.returncode == 0
    for path in sorted((REPOSITORY / "jobs").glob("*.py")):
        text = path.read_text()
        if "\nif __name__" in text:
            assert f"  {path.stem} " in done.stdout
            assert text.partition("\n")[0].strip('"') in done.stdout, f"{path.name}: its first line is no docstring"


def test_an_unknown_job_lists_those_that_exist() -> None:
    done = call("ingset")
    assert (done.returncode, done.stdout) == (2, "")
    assert "no job ingset" in done.stderr
    assert "ingest" in done.stderr


@pytest.mark.parametrize("name", ["config", "../jobs/config", "bench", "bench.nothing"])
def test_only_jobs_can_be_called(name: str) -> None:
    done = call(name)
    assert done.returncode == 2
    assert "there is no job" in done.stderr


def test_relative_paths_are_relative_to_where_the_user_stands(tmp_path: Path) -> None:
    (tmp_path / "schemas").mkdir()  # a folder of this name where the user stands must not hide ours
    done = call("package", "--out", "here", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "here" / "feedloop.zip").is_file()


def test_a_wrong_option_leaves_with_2_and_one_line() -> None:
    done = call("package", "--oot", "here")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "feedloop package: Unknown option: --oot. Did you mean --out? See ./feedloop package --help\n"


def test_ingest_works_with_no_java_on_the_path(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "day.jsonl").write_text(json.dumps(LINE) + "\n" + json.dumps(LINE) + "\nnot json\n")
    env = {name: value for name, value in os.environ.items() if name not in {"JAVA_HOME", "SPARK_HOME", *_ENGINE}}
    env["PATH"] = path_without(tmp_path / "bin", "java")
    assert shutil.which("java", path=env["PATH"]) is None
    chosen = REPOSITORY / "build" / "java" / "chosen"
    before = chosen.read_text()
    done = call("ingest", "--logs", ".", "--lake", "lake", cwd=tmp_path, env=env)
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert [summary[name] for name in ("lines", "impressions", "merged", "rejected")] == [3, 1, 1, 1]
    assert chosen.read_text() == before, "the embedded engine asks for no Java"


@pytest.mark.slow
def test_spark_brings_its_own_java_where_the_path_has_none(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "day.jsonl").write_text(json.dumps(LINE) + "\n")
    env = {name: value for name, value in os.environ.items() if name not in {"JAVA_HOME", "SPARK_HOME", *_ENGINE}}
    env["PATH"] = path_without(tmp_path / "bin", "java")
    done = call("ingest", "--logs", ".", "--lake", "lake", "--engine", "spark", cwd=tmp_path, env=env)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["impressions"] == 1
    chosen = (REPOSITORY / "build" / "java" / "chosen").read_text()
    assert f"{REPOSITORY}/build/java/home|JAVA_HOME= java=\n" in chosen


def test_a_machine_without_python_gets_a_message_what_to_install(tmp_path: Path) -> None:
    door = copy_of_the_tree(tmp_path / "clone")
    env = {"PATH": path_without(tmp_path / "bin", "python", "java")}
    done = call("package", door=door, cwd=tmp_path, env=env)
    assert done.returncode == 2
    assert "no Python 3.11 or 3.12 on PATH" in done.stderr
    assert "apt install python3" in done.stderr
    assert not (tmp_path / "clone" / ".venv").exists()


@pytest.mark.slow
def test_a_fresh_copy_sets_itself_up_and_refuses_a_changed_jar(tmp_path: Path) -> None:
    door = copy_of_the_tree(tmp_path / "clone")
    sums = tmp_path / "clone" / "requirements" / "jars.sha256"
    right = sums.read_text()
    sums.write_text("0" * 64 + right[64:])
    env = {name: value for name, value in os.environ.items() if not name.startswith(("PY", "VIRTUAL_ENV", "SPARK"))}
    refused = call("setup", door=door, cwd=tmp_path, env=env)
    assert refused.returncode == 2
    assert "checksum" in refused.stderr
    assert list((tmp_path / "clone" / "build" / "jars").iterdir()) == []

    sums.write_text(right)
    done = call("package", door=door, cwd=tmp_path, env=env)
    assert done.returncode == 0, done.stderr
    listed = {line.split()[1] for line in right.splitlines()}
    jars = tmp_path / "clone" / "build" / "jars"
    assert {jar.name for jar in jars.glob("*.jar")} == listed | {"feedloop-s3-log-store.jar"}
    assert "setting" not in call("package", door=door, cwd=tmp_path, env=env).stderr
