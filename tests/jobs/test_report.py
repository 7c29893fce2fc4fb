"""report as a user runs it: a page next to the run, in a process without Spark; missing parts are reported."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from jobs.cli.command_line import run as run_job
from jobs.report import report
from tests.jobs.page.runs import run_folder


def test_the_page_lies_next_to_the_run_and_reports_what_it_lacks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = run_folder(tmp_path, without=("examples.json",))
    assert run_job(report, ["--run", str(run)]) == 0
    reported = json.loads(capsys.readouterr().out)
    assert reported["page"] == str(run / "report.html")
    assert reported["lacking"] == ["example users"]
    assert "<h1>paper · run-1</h1>" in (run / "report.html").read_text()


def test_named_places_are_read_and_another_page_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = run_folder(tmp_path, without=("about.json", "summary.json"))
    out = tmp_path / "page.html"
    assert run_job(report, ["--run", str(run), "--data", str(tmp_path / "packed"), "--out", str(out)]) == 0
    assert "Shared with the batch before" in out.read_text()  # every batch was read
    assert not (run / "report.html").exists()
    assert "padding" not in " ".join(json.loads(capsys.readouterr().out)["lacking"])


def test_a_folder_without_a_run_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_job(report, ["--run", str(tmp_path)]) == 2
    assert "no config.json, so it is no training run" in capsys.readouterr().err
