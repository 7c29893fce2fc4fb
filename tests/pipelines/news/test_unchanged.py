"""A run without new news stops at once, if nothing has changed since the last run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from pipelines.delta.table_ddl import TABLES_OF
from pipelines.lake.notes import noted_inputs
from pipelines.lake.tables import Lake
from pipelines.news.flow import prepare_news
from pipelines.news.segmenting import NewsConfig
from schemas.news import ITEM_TOKENS, NEWS
from tests.builders import rows

CONFIG = NewsConfig(tokens_per_segment=6, fields=("title", "body"))
OPEN = NewsConfig()  # as it was made before
FIRST = {"a": ("Hello", ""), "b": ("World", "a volcano at the harbour this morning"), "c": ("Hello", "")}


class Asked(Lake):
    """A lake that counts how often rows are asked for, and how often stored ones are changed."""

    reads = merges = 0

    def merge(self, *what: Any, **how: Any) -> Any:
        self.merges += 1
        return super().merge(*what, **how)

    def read(self, *what: Any, **how: Any) -> Any:
        self.reads += 1
        return super().read(*what, **how)


def write(folder: Path, news: Mapping[str, tuple[str, str]]) -> Path:
    folder.mkdir(exist_ok=True)
    lines = [json.dumps({"news_id": name, "title": title, "body": body}) for name, (title, body) in news.items()]
    (folder / "news.jsonl").write_text("\n".join(lines))
    return folder


def held(lake: Lake, source: str) -> list[Any]:
    """The rows and notes of a lake, without ids of its tables."""
    kept = [name for name in ITEM_TOKENS.column_names if name != "tokenizer_sha256"]
    return [[row for row in rows(lake.read(table), *names) if row[0] == source]
            for table, names in ((NEWS, NEWS.column_names), (ITEM_TOKENS, kept))]  # fmt: skip


def test_a_known_file_is_not_read_again_until_something_else_was_written(spark: SparkSession, tmp_path: Path) -> None:
    lake = Asked(spark, str(tmp_path / "lake"))
    ours, theirs = write(tmp_path / "ours", FIRST), write(tmp_path / "theirs", {"x": ("Hello", "")})
    first = prepare_news(lake, ours, CONFIG, source="s")

    def again(config: NewsConfig = OPEN) -> tuple[int, dict[str, Any]]:
        before, versions = lake.reads, lake.versions(TABLES_OF["prepare_news"])
        made = prepare_news(lake, ours, config, source="s")
        moved = lake.versions(TABLES_OF["prepare_news"]) != versions
        assert not moved or lake.reads > before
        return lake.reads - before, made

    reads, made = again()
    assert reads == 0
    nothing = ("changed_news", "new_items", "retokenised_items", "segments", "tokens", "full_tokens")
    nothing += ("refined_segments", "items_without_text")
    assert made == first | dict.fromkeys(nothing, 0)

    prepare_news(lake, theirs, CONFIG, source="r")
    assert again()[0] == 0  # another source's run leaves ours as it was
    assert again(CONFIG)[0] == 0  # the same settings by name
    assert again(replace(CONFIG, new_corpus=True))[0] > 0
    assert again(NewsConfig(tokens_per_segment=5))[1]["retokenised_items"] == 3
    assert again()[0] == 0
    lake.overwrite(ITEM_TOKENS, lake.read(ITEM_TOKENS).where("source = 'r' OR item_id = 'a'"))
    reads, made = again()
    assert (reads > 0, made["new_items"]) == (True, 2)
    assert noted_inputs(lake)["r"]["versions"] != lake.versions(TABLES_OF["prepare_news"])  # it was written to, too


def test_new_news_are_added_without_a_merge(spark: SparkSession, tmp_path: Path) -> None:
    lake = Asked(spark, str(tmp_path / "lake"))
    prepare_news(lake, write(tmp_path, FIRST), CONFIG, source="s")
    prepare_news(lake, write(tmp_path, FIRST | {"d": ("Hello", "")}), CONFIG, source="s")
    assert lake.merges == 0
    prepare_news(lake, write(tmp_path, FIRST | {"d": ("World", ""), "e": ("new", "")}), CONFIG, source="s")
    assert lake.merges == 2  # NEWS and ITEM_TOKENS, each in one commit with what is new
    assert [row[1:] for row in rows(lake.read(ITEM_TOKENS), "source", "item_id", "canonical_row")] == [
        ("a", 1), ("b", 2), ("c", 1), ("d", 4), ("e", 5)
    ]  # fmt: skip


def test_the_same_bytes_by_another_form_are_read(spark: SparkSession, tmp_path: Path) -> None:
    lake = Asked(spark, str(tmp_path / "lake"))
    line = json.dumps({"news_id": "n\t1\t2\t3\t4\t5", "title": "Hello"}).replace("\\t", "\t").replace('"', "'")
    (tmp_path / "a.tsv").write_text(line + "\n")
    (tmp_path / "a.jsonl").write_text(line + "\n")
    prepare_news(lake, tmp_path / "a.tsv", CONFIG, source="s")
    with pytest.raises(Exception, match="none of its 1 lines holds"):
        prepare_news(lake, tmp_path / "a.jsonl", CONFIG, source="s")


def test_few_changed_news_make_what_a_look_at_all_makes(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    more: list[dict[str, tuple[str, str]]] = [
        {"d": ("World", ""), "e": ("", ""), "f": ("", "")},  # new ones, one of them like none, two without text
        {"a": ("Hello again", ""), "g": ("Hello again", "")},  # c stands for itself from now on
        {"a": ("Hello", ""), "e": ("Hello", "here at last"), "b": ("", "")},
        {"h": ("new", "and refined by the words of an older corpus than its own")},
    ]
    folders = [write(tmp_path / str(number), news) for number, news in enumerate([FIRST, *more])]
    few, every = Lake(spark, str(tmp_path / "few")), Lake(spark, str(tmp_path / "every"))
    for number, folder in enumerate(folders):
        summary = prepare_news(few, folder, CONFIG, source="s")
        with monkeypatch.context() as patch:
            patch.setattr("pipelines.news.unchanged._same_provenance", lambda *_, **__: False)
            assert summary == prepare_news(every, folder, CONFIG, source="s"), number
        assert held(few, "s") == held(every, "s"), number
    commits = {table.name: few.version(table) for table in (NEWS, ITEM_TOKENS)}
    assert commits == {table.name: every.version(table) for table in (NEWS, ITEM_TOKENS)}
