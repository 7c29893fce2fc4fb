"""The settings of a source stay until an explicit option changes one."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from jobs.cli.command_line import run
from jobs.prepare_news import prepare_news
from pipelines.lake.notes import noted_sources
from pipelines.lake.tables import Lake
from pipelines.news.segmenting import DEFAULTS, NewsConfig
from pipelines.news.tokenizer_file import default_tokenizer_file
from schemas.news import ITEM_TOKENS, NEAR_DUPLICATES
from tests.builders import rows

FIRST = {
    "a": "Heavy rain is expected all over the northern coast this weekend",
    "b": "Heavy rain is expected all over the northern coast this weekend again",
    "c": "Hello",
}


def test_options_left_out_are_as_before_or_by_default() -> None:
    before = {"fields": ("body",), "category_first": True, "near_duplicates": 0.8}
    asked = NewsConfig(tokens_per_segment=8, near_duplicates=0)
    assert asked.with_defaults({}) == NewsConfig(**{**DEFAULTS, "tokens_per_segment": 8})
    now = asked.with_defaults(before)
    assert (now.fields, now.category_first, now.near_duplicates, now.select) == (("body",), True, 0, "text")


@pytest.fixture
def prepared(spark: SparkSession, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    """prepare_news of some titles under a source: its summary or error message, and its printed output."""

    def prepare(source: str, titles: dict[str, str], *options: str, code: int = 0) -> tuple[dict[str, Any], str]:
        lines = [json.dumps({"news_id": name, "category": "news", "title": title}) for name, title in titles.items()]
        (tmp_path / "news.jsonl").write_text("\n".join(lines))
        argv = ["--news", str(tmp_path / "news.jsonl"), "--lake", str(tmp_path / "lake"), "--source", source, *options]
        assert run(prepare_news, argv) == code
        said = capsys.readouterr()
        return json.loads(said.out) if code == 0 else {}, " ".join(said.err.split())

    return prepare


def items(lake: Lake, source: str) -> list[tuple[Any, ...]]:
    return [row for row in rows(lake.read(ITEM_TOKENS), *ITEM_TOKENS.column_names) if row[0] == source]


def test_each_source_keeps_its_own_settings_whatever_others_are_prepared_by(
    spark: SparkSession, tmp_path: Path, prepared: Any
) -> None:
    lake = Lake(spark, str(tmp_path / "lake"))
    prepared("first", FIRST, "--category-first")
    made = items(lake, "first")
    summary, said = prepared("second", FIRST, "--tokens-per-segment", "5", "--fields", "title", "--fields", "body")
    assert (summary["new_items"], summary["retokenised_items"], summary["changed_settings"]) == (3, 0, {})
    assert items(lake, "first") == made
    assert {row[3] for row in items(lake, "second")} == {4, 5, 6}  # no item stands for one of other settings
    assert "remade" not in said

    second = items(lake, "second")
    summary, _ = prepared("first", FIRST | {"d": "Hello again"})  # no option: as before
    assert (summary["new_items"], summary["retokenised_items"], summary["changed_settings"]) == (1, 0, {})
    assert items(lake, "first")[:3] == made
    summary, said = prepared("first", FIRST, "--no-category-first")
    assert (summary["retokenised_items"], summary["changed_settings"]) == (4, {"category_first": ["True", "False"]})
    assert "first: category_first was True, is False: all its items are remade" in said
    assert items(lake, "second") == second


@pytest.mark.slow
def test_each_source_keeps_its_own_near_duplicates(spark: SparkSession, tmp_path: Path, prepared: Any) -> None:
    lake = Lake(spark, str(tmp_path / "lake"))
    assert prepared("first", FIRST, "--near-duplicates", "0.8")[0]["folded_items"] == 1
    made, folded = items(lake, "first"), rows(lake.read(NEAR_DUPLICATES))
    assert prepared("second", FIRST)[0]["folded_items"] == 0
    assert (items(lake, "first"), rows(lake.read(NEAR_DUPLICATES))) == (made, folded)
    assert prepared("second", FIRST, "--near-duplicates", "0.7")[0]["folded_items"] == 1
    assert prepared("first", FIRST)[0]["folded_items"] == 1  # as before
    assert prepared("first", FIRST, "--near-duplicates", "0")[0]["changed_settings"] == {
        "near_duplicates": ["0.8", "0.0"]
    }
    assert rows(lake.read(NEAR_DUPLICATES), "item_row", "kept_row") == [(5, 4)]


def test_a_tokenizer_is_found_again_or_asked_for(spark: SparkSession, tmp_path: Path, prepared: Any) -> None:
    file = default_tokenizer_file()
    assert file is not None
    shutil.copy(file, tmp_path / "tokenizer.json")
    lake = Lake(spark, str(tmp_path / "lake"))
    prepared("s", FIRST, "--tokenizer", str(tmp_path / "tokenizer.json"))
    made = items(lake, "s")
    summary, _ = prepared("s", FIRST, "--tokenizer", "minilm")  # the same one by another name
    assert (summary["changed_settings"], items(lake, "s")) == ({}, made)

    prepared("s", FIRST, "--tokenizer", str(tmp_path / "tokenizer.json"))
    (tmp_path / "tokenizer.json").write_text(json.dumps(json.loads(file.read_text()), indent=4))
    summary, _ = prepared("s", FIRST)  # saved again, it holds the same
    assert (summary["changed_settings"], items(lake, "s")) == ({}, made)
    other = json.loads(file.read_text())
    other["model"]["vocab"]["feedloop"] = len(other["model"]["vocab"])
    (tmp_path / "tokenizer.json").write_text(json.dumps(other))
    _, said = prepared("s", FIRST, code=2)
    assert "which has changed since" in said
    assert "Name the old one with --tokenizer, or this one to make all its items again" in said
    (tmp_path / "tokenizer.json").unlink()
    _, said = prepared("s", FIRST, code=2)
    assert "which cannot be used now" in said
    assert "Name its present place with --tokenizer" in said
    assert items(lake, "s") == made


def test_a_lake_of_an_older_feedloop_keeps_each_sources_items(
    spark: SparkSession, tmp_path: Path, prepared: Any
) -> None:
    lake = Lake(spark, str(tmp_path / "lake"))
    prepared("s", FIRST, "--tokens-per-segment", "6")
    made, (noted,) = items(lake, "s"), noted_sources(lake).values()
    older = {name: noted[name] for name in ("language", "corpora", "sha256")}
    both = {"tokens": noted["tokens"], "near_duplicates": None, "sources": {"s": older, "r": older}}
    lake.note(ITEM_TOKENS, "made_from", json.dumps(both))
    summary, _ = prepared("s", FIRST)
    assert (summary["retokenised_items"], items(lake, "s")) == (0, made)
    assert noted_sources(lake)["s"] == noted
    assert noted_sources(lake)["r"]["tokens"] == noted["tokens"]
