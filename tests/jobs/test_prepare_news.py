from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from jobs.cli.command_line import run
from jobs.prepare_news import prepare_news
from pipelines.lake.tables import Lake
from schemas.impression import HISTORIES, IMPRESSIONS


def test_the_options_reach_the_tables(spark: SparkSession, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "news.tsv").write_text(
        "N1\tsport\tgolf\tTitle\tAbstract\t\t[]\t[]\nN2\tsport\tgolf\tTitle\t\t\t[]\t[]\n"
    )
    argv = ["--news", str(tmp_path), "--lake", str(tmp_path / "lake"), "--fields", "title", "--fields", "abstract"]
    assert run(prepare_news, [*argv, "--tokens-per-segment", "4", "--source", "mind"]) == 0
    reported = json.loads(capsys.readouterr().out)
    assert reported["new_items"] == 2
    assert (reported["inputs"], reported["outputs"]) == (
        {},
        {"news": 1, "corpus_statistics": 1, "item_tokens": 2},
    )
    written = next((tmp_path / "lake" / "_versions" / "prepare_news").glob("*.json"))
    assert json.loads(written.read_text()) == {name: reported[name] for name in ("inputs", "outputs")} | {
        "job": "prepare_news"
    }
    rows = spark.read.format("delta").load(str(tmp_path / "lake" / "item_tokens")).orderBy("item_id").collect()
    assert [(row["source"], row["segment_field"]) for row in rows] == [("mind", [0, 1]), ("mind", [0])]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"--news": "absent"}, "absent: no such file or folder"),
        ({"--tokenizer": "absent"}, "tokenizer absent: absent is no file. Name a tokenizer.json"),
        ({"--fields": "url"}, "name one or more of ['title', 'abstract', 'body']"),
    ],
)
def test_what_cannot_be_used_is_one_message_and_exit_code_2(
    spark: SparkSession,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    options: dict[str, str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    named = {"--news": "news.jsonl", "--lake": "lake"} | options
    assert run(prepare_news, [word for pair in named.items() for word in pair]) == 2
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_run_waits_for_none_and_says_who_is_at_work(
    spark: SparkSession, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "news.jsonl").write_text('{"news_id": "n1", "title": "Hello"}')
    with Lake(spark, str(tmp_path / "lake")).locked("prepare_news"):
        assert run(prepare_news, ["--news", str(tmp_path), "--lake", str(tmp_path / "lake")]) == 2
    assert f"prepare_news of this lake is running already (process {os.getpid()} " in capsys.readouterr().err


def test_a_forgotten_news_file_is_reported(
    spark: SparkSession, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lake = ["--lake", str(tmp_path / "lake")]
    assert run(prepare_news, lake) == 2
    assert "no table impressions there. Make it with ./feedloop ingest" in capsys.readouterr().err
    tables = Lake(spark, str(tmp_path / "lake"))
    for table in (IMPRESSIONS, HISTORIES):
        tables.create(table)
    assert run(prepare_news, lake) == 2
    assert "publisher has no impressions" in capsys.readouterr().err
    (tmp_path / "news.jsonl").write_text('{"news_id": "n1", "title": "Hello"}')
    assert run(prepare_news, [*lake, "--news", str(tmp_path)]) == 0
    capsys.readouterr()
    assert run(prepare_news, lake) == 2
    assert "publisher has news with text. Name its news file with --news" in capsys.readouterr().err
