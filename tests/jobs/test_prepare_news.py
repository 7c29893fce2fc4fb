from __future__ import annotations

import json
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from jobs.config import run
from jobs.prepare_news import prepare_news


def test_the_options_reach_the_tables(spark: SparkSession, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "news.tsv").write_text(
        "N1\tsport\tgolf\tTitle\tAbstract\t\t[]\t[]\nN2\tsport\tgolf\tTitle\t\t\t[]\t[]\n"
    )
    argv = ["--news", str(tmp_path), "--lake", str(tmp_path / "lake"), "--fields", "title", "--fields", "abstract"]
    assert run(prepare_news, [*argv, "--tokens-per-segment", "4", "--source", "mind"]) == 0
    assert json.loads(capsys.readouterr().out)["new_items"] == 2
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
