"""A MIND log without click marks -> the file that MIND's site takes, by every job in order, against the raw log."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from jobs.build_trajectories import build_trajectories
from jobs.cli.command_line import Job, run
from jobs.evaluate import evaluate
from jobs.ingest import ingest
from jobs.pack import pack
from jobs.prepare_news import prepare_news
from jobs.train import train
from tests.e2e.test_loop import mind_folder
from tests.packed import BASELINES
from tests.trainer.eval.prediction_checker import complaints


def unlabelled_log(path: Path) -> Path:
    """Users of before and new ones, a news that nobody knows, and one view that two collectors wrote down."""
    views = []
    for number in range(12):
        shown = [f"N{place}" for place in range(number % 3, number % 3 + 4)] + (["N999"] if number % 4 == 0 else [])
        history = "" if number == 5 else f"N{number} N{number + 3}"
        time = f"11/13/2019 {1 + number % 12}:30:00 PM"
        views.append(f"{500 - number}\tU{number * 2}\t{time}\t{history}\t{' '.join(shown)}")
    views.append(views[3].replace("497\t", "1004\t"))
    path.write_text("\n".join(views) + "\n")
    return path


def test_every_unlabelled_impression_has_its_line_under_every_id(
    spark: SparkSession, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def summary_of(job: Job, *options: object) -> dict[str, object]:
        assert run(job, [str(option) for option in options]) == 0, capsys.readouterr().err
        return dict(json.loads(capsys.readouterr().out))

    logs, packed = mind_folder(tmp_path / "mind"), tmp_path / "packed"
    raw = unlabelled_log(logs / "behaviors_unlabelled.tsv")
    source = ("--lake", tmp_path / "lake", "--source", "m")
    assert summary_of(ingest, "--logs", logs, *source)["double_logged"] == 1
    summary_of(prepare_news, "--news", logs, *source)
    kept = summary_of(build_trajectories, *source, "--unlabelled")
    assert (kept["evaluation_impressions"], kept["unlabelled_impressions"]) == (20, 12)
    summary_of(pack, *source, "--out", packed)
    summary_of(train, "--data", packed, "--out", tmp_path / "run")
    file = tmp_path / "predictions" / "mind.txt"
    where = ("--checkpoint", tmp_path / "run" / "checkpoint", "--data", packed, "--lake", tmp_path / "lake")
    found = summary_of(evaluate, *where, "--predictions", file)
    assert complaints(file, raw) == []
    lines = dict(line.split() for line in file.read_text().splitlines())
    assert lines["497"] == lines["1004"]
    with_unknown = [json.loads(lines[str(500 - number)]) for number in (0, 4, 8)]
    assert all(ranks[-1] == len(ranks) == 5 for ranks in with_unknown)
    assert (found["impressions"], found["unlabelled"], found["left_out"]) == (20, 12, [])
    assert isinstance(found["methods"], dict)
    assert list(found["methods"]) == ["model", *BASELINES]
