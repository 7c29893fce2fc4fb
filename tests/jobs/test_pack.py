from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession

from jobs.build_trajectories import build_trajectories
from jobs.cli.command_line import Job, run
from jobs.ingest import ingest
from jobs.pack import pack
from jobs.prepare_news import prepare_news
from schemas.manifest import MANIFEST_FILE, Manifest
from tests.builders import json_line, write_logs


def test_logs_and_news_become_a_packed_directory_job_by_job(
    spark: SparkSession, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def summary(job: Job, *options: str) -> dict[str, Any]:
        assert run(job, ["--lake", str(tmp_path / "lake"), *options]) == 0, capsys.readouterr().err
        found: dict[str, Any] = json.loads(capsys.readouterr().out)
        return found

    lines = [
        json_line("i1", time="2026-03-02T09:00:00Z", history=["n1"], shown=["n2", "n3"], clicked=["n2"]),
        json_line("i2", time="2026-03-02T10:00:00Z", history=["n1", "n2"], shown=["n3", "n4"], clicked=["n4"]),
        json_line("i3", time="2026-03-03T09:00:00Z", history=["n1", "n2", "n4"], shown=["n5", "n1"], clicked=["n5"]),
    ]
    write_logs(tmp_path, {"a.jsonl": lines})
    news = [json.dumps({"news_id": f"n{n}", "title": f"news number {n}"}) for n in range(1, 6)]
    (tmp_path / "news.jsonl").write_text("\n".join(news))

    summary(ingest, "--logs", str(tmp_path))
    summary(prepare_news, "--news", str(tmp_path))
    made = summary(build_trajectories)
    assert (made["evaluate_from"], made["trajectories"], made["targets"]) == ("2026-03-03", 1, 2)
    out = tmp_path / "packed"
    packed = summary(pack, "--out", str(out), "--batch-trajectories", "2")
    assert (packed["batches"], packed["targets"], packed["clicks"], packed["evaluation_impressions"]) == (1, 2, 3, 1)

    manifest = Manifest.from_json((out / MANIFEST_FILE).read_text(), str(out))
    assert set(manifest.inputs) == {"impressions", "histories", "item_tokens", "trajectories", "evaluation"}
    assert (manifest.tokens.tokenizer, manifest.tokens.rows, manifest.config["batch_trajectories"]) == ("minilm", 6, 2)


def test_a_publisher_without_text_goes_as_far_as_packing(
    spark: SparkSession, tmp_path: Path, shared_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def summary(job: Job, *options: str) -> dict[str, Any]:
        assert run(job, ["--lake", str(tmp_path / "lake"), *options]) == 0
        found: dict[str, Any] = json.loads(capsys.readouterr().out)
        return found

    for name in ("behaviors", "history"):
        table = pq.read_table(shared_data / "ebnerd_demo" / f"{name}.parquet")
        few = table if name == "history" else table.sort_by("impression_time").take(list(range(0, table.num_rows, 40)))
        pq.write_table(few, tmp_path / f"{name}.parquet")
    made = summary(ingest, "--logs", str(tmp_path))
    assert (made["lines"], made["rejected"]) == (619, 0)
    news = summary(prepare_news)
    assert news["news"] == news["new_items"] > 1000
    assert set(news["inputs"]) == {"impressions", "histories"}
    assert summary(prepare_news)["new_items"] == 0
    built = summary(build_trajectories)
    packed = summary(pack, "--out", str(tmp_path / "packed"), "--batch-trajectories", "16")
    assert packed["targets"] == built["targets"] > 0
    manifest = Manifest.from_json((tmp_path / "packed" / MANIFEST_FILE).read_text(), str(tmp_path))
    assert manifest.tokens.rows == news["items"] + 1


def test_a_lake_without_trajectories_is_one_message_and_exit_code_2(
    spark: SparkSession, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(pack, ["--lake", str(tmp_path / "lake"), "--out", str(tmp_path / "packed")]) == 2
    assert "no table trajectories there. Make it with ./feedloop build_trajectories" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
