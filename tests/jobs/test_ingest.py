from __future__ import annotations

import gzip
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pyspark
import pytest

from jobs.cli.command_line import run
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
        ({"1.jsonl": ["rubbish"]}, (), "1.jsonl: no line is an impression"),
        ({"behaviors.tsv": ["a\tb\tc"]}, (), "has 3 tab-separated columns instead of 5"),
        ({"1.jsonl": [json_line()]}, ("--format", "csv"), "csv"),
        ({"1.jsonl": [json_line()]}, ("--format", "mind"), "behaviors*.tsv"),
        ({"1.jsonl": [json_line()]}, ("--sorce", "x"), "sorce"),
        ({"1.jsonl": [json_line()]}, ("--logs-since", "/2026"), "write a path below --logs"),
        ({"1.jsonl": [json_line()]}, ("--logs-since", "2026/11/27"), "logs are named logs/*.jsonl"),
        ({"1.jsonl": [json_line()]}, ("--logs-since", "logs/2"), "no logs there from logs/2 on (--logs-since)"),
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
    assert not list((tmp_path / "lake").glob("*/_delta_log"))


@pytest.mark.usefixtures("spark")
def test_files_that_cannot_be_used_are_named_and_the_others_land(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    logs = write_logs(tmp_path, {"1.jsonl": [json_line()], "2.jsonl": ["rubbish"]})
    (logs / "logs" / "3.jsonl").symlink_to(tmp_path / "nowhere")
    assert call(logs, tmp_path / "lake") == 2
    said = capfd.readouterr()
    summary = json.loads(said.out)
    assert summary["impressions"] == 1
    assert sorted(summary["unreadable_files"]) == ["logs/2.jsonl", "logs/3.jsonl"]
    assert "2 files could not be used, the others were ingested" in said.err
    assert "logs/2.jsonl: no line is an impression" in said.err


@pytest.mark.usefixtures("spark")
@pytest.mark.parametrize("more", [(), ("--stream-files", "1")])
def test_logs_of_earlier_days_are_left_alone_and_the_run_says_so(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], more: Sequence[str]
) -> None:
    days = {f"{day}.jsonl.zst": [json_line(day, user_id=day)] for day in ("2026-11-26", "2026-11-27", "2026-11-28")}
    logs = write_logs(tmp_path, days)
    assert call(logs, tmp_path / "lake", "--logs-since", "logs/2026-11-27", *more) == 0
    summary = json.loads(capfd.readouterr().out)
    assert (summary["files"], summary["impressions"]) == (2, 2)
    assert summary["older_logs"] == {"since": "logs/2026-11-27", "folders_not_listed": 0, "files_left_out": 1}
    assert call(logs, tmp_path / "lake", *more) == 0
    summary = json.loads(capfd.readouterr().out)
    assert (summary["files"], "older_logs" in summary) == (1, False)


@pytest.mark.usefixtures("spark")
def test_a_mapped_log_is_streamed_and_its_users_replaced(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    user = {"id": "person", "recent": ["n0"]}
    record = {"event": {"id": 1, "at": "2026-03-02 10:15:31", "user": user}, "payload": {"items": ["n1"]}}
    folder = tmp_path / "events" / "2026-03"
    folder.mkdir(parents=True)
    (folder / "a.json.gz").write_bytes(gzip.compress(json.dumps(record).encode()))
    monkeypatch.setenv("FEEDLOOP_USER_KEY", "a key of 16 bytes or more")
    mapping = str(REPOSITORY / "jobs" / "presets" / "logs" / "jsonl.toml")
    assert call(tmp_path, tmp_path / "lake", "--mapping", mapping, "--stream-files", "10") == 0
    said = capfd.readouterr()
    assert [json.loads(said.out)[name] for name in ("files", "impressions")] == [1, 1]
    assert "a key of 16" not in said.out + said.err
    monkeypatch.delenv("FEEDLOOP_USER_KEY")
    (folder / "b.json.gz").write_bytes(gzip.compress(json.dumps(record).encode()))
    assert call(tmp_path, tmp_path / "lake", "--mapping", mapping) == 2
    assert "with a user key so far, and this run is without one" in capfd.readouterr().err


@pytest.mark.usefixtures("spark")
def test_a_replay_tells_what_it_changed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    lines = [json_line("1"), json_line("2", time="2026-03-04T10:00:00Z"), json_line("2", clicked=["n4"])]
    lake = str(tmp_path / "lake")
    assert call(write_logs(tmp_path, {"1.jsonl": lines}), tmp_path / "lake") == 0
    capfd.readouterr()
    assert run(ingest, ["--replay", "--lake", lake, "--earliest", "2026-03-03"]) == 0
    summary = json.loads(capfd.readouterr().out)
    assert summary["changes"]["impressions"] == {"before": 2, "after": 1, "new": 0, "gone": 1}
    assert (summary["lines"], summary["rejected_by_reason"]) == (3, {"bad_time": 2})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--replay", "--logs", "logs"), "--logs adds new logs, --replay reads the lines in the lake again"),
        ((), "--logs adds new logs, --replay reads the lines in the lake again: give one of them"),
        (("--from", "2026-03-03", "--logs", "logs"), "add --replay, or drop it"),
        (("--replay",), "nothing was ingested here from source 'publisher'"),
    ],
)
def test_a_replay_that_cannot_be_is_one_message_and_makes_no_lake(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], options: Sequence[str], message: str
) -> None:
    assert run(ingest, [*options, "--lake", str(tmp_path / "lake")]) == 2
    said = capfd.readouterr()
    assert message in said.err
    assert ("Traceback" in said.err, (tmp_path / "lake").exists()) == (False, False)


@pytest.mark.parametrize("key", ["", "short"])
def test_a_key_that_is_empty_or_short_is_refused_before_anything_is_read(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    (tmp_path / "key").write_text(key)
    assert call(tmp_path, tmp_path / "lake", "--user-key-file", str(tmp_path / "key")) == 2
    assert f"key: a user key of {len(key)} bytes" in capfd.readouterr().err
    monkeypatch.setenv("FEEDLOOP_USER_KEY", key)
    assert call(tmp_path, tmp_path / "lake") == 2
    assert f"FEEDLOOP_USER_KEY: a user key of {len(key)} bytes" in capfd.readouterr().err


def test_one_spark_submit_with_the_packaged_code(tmp_path: Path) -> None:
    code = tmp_path / "code"
    for package in ("schemas", "pipelines", "jobs"):
        shutil.copytree(REPOSITORY / package, code / package, ignore=shutil.ignore_patterns("__pycache__"))
    package = shutil.make_archive(str(tmp_path / "feedloop"), "zip", code)
    lines = [json_line("1"), json_line("1"), json_line("2", shown=["n5"], clicked=[]), "rubbish"]
    logs = write_logs(tmp_path, {"1.jsonl": lines})
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
