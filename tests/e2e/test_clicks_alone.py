"""A log of clicks alone, without what was shown, from ingest to evaluate; its evaluation begins inside a day."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from jobs.build_trajectories import build_trajectories
from jobs.ingest import ingest
from jobs.make_sample import make_sample
from jobs.pack import pack
from jobs.prepare_news import prepare_news
from schemas.manifest import MANIFEST_FILE
from tests.conftest import REPOSITORY
from tests.e2e.test_every_day import summary, torch_job

PRESETS = REPOSITORY / "jobs" / "presets"


def clicks_of(sample: Path) -> list[str]:
    """A line of the mapping `clicks.toml` for each click that a line of the sample's log holds."""
    found = []
    for line in (line for file in sorted((sample / "logs").glob("*.jsonl")) for line in file.read_bytes().splitlines()):
        try:
            logged = json.loads(line)
            seconds = int(datetime.fromisoformat(logged["time"]).timestamp())
            clicks = logged["clicked"]
        except (ValueError, KeyError, TypeError):  # of the sample's broken lines
            continue
        found += [json.dumps({"userId": logged["user_id"], "time": seconds, "id": news}) for news in clicks or ()]
    return found


@pytest.mark.slow
def test_a_log_of_clicks_alone_goes_from_ingest_to_figures_that_are_named(spark: SparkSession, tmp_path: Path) -> None:
    make_sample(out=tmp_path / "sample", size="tiny", seed=3)
    lines = clicks_of(tmp_path / "sample")
    (tmp_path / "clicks").mkdir()
    (tmp_path / "clicks" / "all.jsonl").write_text("\n".join([*lines, lines[0]]) + "\n")
    lake, data, run = (("--lake", tmp_path / "lake"), tmp_path / "packed", tmp_path / "run")
    read = summary(ingest, "--logs", tmp_path, "--mapping", PRESETS / "logs" / "clicks.toml", *lake)
    assert len(lines) > 200
    assert read["lines"] == read["impressions"] + read["merged"] + read["rejected"] == len(lines) + 1
    assert read["rejected"] < 5  # lines of the sample with a damaged id or an impossible time
    summary(prepare_news, "--news", tmp_path / "sample", *lake)
    made = summary(build_trajectories, "--evaluate-share", 0.2, "--drawn-candidates", 20, *lake)
    assert (made["negatives"], made["split_by"], "T" in made["evaluate_from"]) == ("drawn", "share", True)
    assert made["targets"] > made["evaluation_impressions"] > 20
    summary(pack, "--out", data, *lake)
    decided = json.loads((data / MANIFEST_FILE).read_text())["config"]["trajectories"]
    assert (decided["negatives"], decided["evaluate_from"]) == ("drawn", made["evaluate_from"])

    options = ("--config", PRESETS / "demo.toml", "--run.epochs", 1)
    torch_job(tmp_path, "train", "--data", data, "--out", run, *options)
    result, said = torch_job(tmp_path, "evaluate", "--checkpoint", run / "checkpoint", "--data", data)
    assert (result["negatives"], result["split"]["evaluate_from"]) == ("drawn", made["evaluate_from"])
    assert json.loads((run / "evaluation.json").read_text())["negatives"] == "drawn"
    assert "against drawn news" in " ".join(said.split())
    assert result["impressions"] + result["skipped"] == made["evaluation_impressions"]
    assert 0.3 < result["methods"]["model"]["auc"] < 1
    torch_job(tmp_path, "report", "--run", run, "--data", data)
    assert "AUC against drawn news" in (run / "report.html").read_text()
