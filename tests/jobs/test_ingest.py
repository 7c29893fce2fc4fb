from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pyspark
import pytest

from jobs.config import run
from jobs.ingest import ingest
from tests.builders import json_line, write_logs
from tests.conftest import REPOSITORY


def call(logs: Path, lake: Path, *more: str) -> int:
    return run(ingest, ["--logs", str(logs), "--lake", str(lake), *more])


@pytest.mark.usefixtures("spark")
@pytest.mark.parametrize(
    ("files", "more", "message"),
    [
        ({}, (), "no such folder"),
        ({"1.jsonl": ["rubbish"]}, (), "1.jsonl: not one line is an impression of format jsonl"),
        ({"behaviors.tsv": ["a\tb\tc"]}, (), "has 3 tab-separated columns instead of 5"),
        ({"1.jsonl": [json_line()]}, ("--format", "csv"), "csv"),
        ({"1.jsonl": [json_line()]}, ("--format", "mind"), "behaviors.tsv"),
        ({"1.jsonl": [json_line()]}, ("--sorce", "x"), "sorce"),
    ],
)
def test_bad_input_is_one_message_and_exit_code_2_and_no_table(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], files: dict[str, list[str]], more: Sequence[str], message: str
) -> None:
    logs = write_logs(tmp_path / "logs", files)
    assert call(logs, tmp_path / "lake", *more) == 2
    said = capfd.readouterr()
    assert message in said.err
    assert ("Traceback" in said.err, said.out) == (False, "")
    assert not (tmp_path / "lake").exists()


def test_one_spark_submit_with_the_packaged_code(tmp_path: Path) -> None:
    code = tmp_path / "code"
    for package in ("schemas", "pipelines", "jobs"):
        shutil.copytree(REPOSITORY / package, code / package, ignore=shutil.ignore_patterns("__pycache__"))
    package = shutil.make_archive(str(tmp_path / "feedloop"), "zip", code)
    logs = write_logs(tmp_path, {"1.jsonl": [json_line("1"), json_line("1"), json_line("2"), "rubbish"]})
    jars = ",".join(str(jar) for jar in (REPOSITORY / "build" / "jars").glob("*.jar"))
    submit = Path(pyspark.__file__).parent / "bin" / "spark-submit"
    command = [str(submit), "--master", "local[2]", "--py-files", package, "--jars", jars]
    command += ["--conf", "spark.sql.shuffle.partitions=2", "--conf", "spark.ui.enabled=false"]
    command += [str(REPOSITORY / "jobs" / "ingest.py"), "--logs", str(logs), "--lake", str(tmp_path / "lake")]
    here = tmp_path / "here"
    here.mkdir()
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {
        "PYSPARK_PYTHON": sys.executable
    }
    done = subprocess.run(command, cwd=here, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout.splitlines()[-1])
    assert [summary[name] for name in ("lines", "impressions", "merged", "rejected")] == [4, 2, 1, 1]
    assert list(here.iterdir()) == []  # no warehouse, no metastore


def test_a_job_leaves_the_terminal_and_the_folder_clean(tmp_path: Path) -> None:
    logs = write_logs(tmp_path, {"1.jsonl": [json_line()]})
    here = tmp_path / "here"
    here.mkdir()
    command = [sys.executable, "-m", "jobs.ingest", "--logs", str(logs), "--lake", "../lake"]
    env = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(command, cwd=here, env=env, capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["impressions"] == 1
    assert (list(here.iterdir()), (tmp_path / "lake" / "impressions").is_dir()) == ([], True)
