from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from pipelines.delta.commits import Changes
from pipelines.delta.table_ddl import TABLES_OF
from pipelines.engine.scratch import scratch
from pipelines.lake.notes import noted_sources
from pipelines.lake.tables import Lake
from pipelines.news.flow import news_of_log, prepare_news
from pipelines.news.items import assign_rows, changed_items, with_item, with_rows
from pipelines.news.segmenting import NewsConfig
from pipelines.news.tokens import tokenised
from schemas.as_spark import spark_schema
from schemas.errors import InputError
from schemas.news import ITEM_TOKENS, NEWS
from schemas.table import Table
from tests.builders import rows

CONFIG = NewsConfig(tokens_per_segment=6)
CLS, SEP, HELLO, WORLD = 101, 102, 7592, 2088


def write_news(folder: Path, *news: tuple[str, str] | str) -> Path:
    """Write news.jsonl from (id, title) pairs and raw lines."""
    lines = [each if isinstance(each, str) else json.dumps({"news_id": each[0], "title": each[1]}) for each in news]
    (folder / "news.jsonl").write_text("".join(f"{line}\n" for line in lines))
    return folder


def items(lake: Lake, *columns: str) -> list[tuple[Any, ...]]:
    return rows(lake.read(ITEM_TOKENS), "source", "item_id", *columns)


def test_rows_are_permanent_and_canonical_rows_follow_the_text(spark: SparkSession, tmp_path: Path) -> None:
    lake = Lake(spark, str(tmp_path / "lake"))
    first = write_news(tmp_path, ("b", "Hello"), ("a", "World"), ("b", "Hello  World "), "broken", ("c", "World"))
    assert prepare_news(lake, first, CONFIG, source="s") == {
        "lines": 5,
        "rejected": 1,
        "news": 3,
        "repeated": 1,
        "changed_news": 3,
        "changed_settings": {},
        "new_items": 3,
        "retokenised_items": 0,
        "items_without_text": 0,
        "segments": 3,
        "refined_segments": 0,
        "tokens": 10,
        "full_tokens": 10,
        "items": 3,
        "folded_items": 1,
        "encodes_saved": 0.3333,
        "corpora": {"title": {"corpus": 1, "texts": 3, "texts_now": 3}},
    }
    assert items(lake, "item_row", "canonical_row", "text_version", "segment_tokens") == [
        ("s", "a", 1, 1, 1, [[CLS, WORLD, SEP]]),
        ("s", "b", 2, 2, 1, [[CLS, HELLO, WORLD, SEP]]),  # the later line
        ("s", "c", 3, 1, 1, [[CLS, WORLD, SEP]]),
    ]
    versions = lake.versions(TABLES_OF["prepare_news"])
    assert prepare_news(lake, first, CONFIG, source="s")["changed_news"] == 0
    assert lake.versions(TABLES_OF["prepare_news"]) == versions  # nothing new, no commit

    second = write_news(tmp_path, ("a", "Hello"), ("aa", ""), ("z", "World"))
    counts = prepare_news(lake, second, CONFIG, source="s")
    # a, aa and z are tokenised; c becomes its own canonical, for a's text has changed
    assert (counts["changed_news"], counts["new_items"], counts["retokenised_items"]) == (3, 2, 2)
    assert (counts["items_without_text"], counts["corpora"]["title"]) == (1, {"corpus": 1, "texts": 3, "texts_now": 4})
    assert items(lake, "item_row", "canonical_row", "text_version", "segment_tokens") == [
        ("s", "a", 1, 1, 2, [[CLS, HELLO, SEP]]),
        ("s", "aa", 4, 4, 1, [[CLS, SEP]]),
        ("s", "b", 2, 2, 1, [[CLS, HELLO, WORLD, SEP]]),
        ("s", "c", 3, 3, 1, [[CLS, WORLD, SEP]]),
        ("s", "z", 5, 3, 1, [[CLS, WORLD, SEP]]),
    ]

    other = prepare_news(
        lake, write_news(tmp_path, ("a", "Hello")), replace(CONFIG, fields=("title", "body")), source="r"
    )
    assert (other["new_items"], other["retokenised_items"], other["items"]) == (1, 0, 1)
    assert items(lake, "item_row", "canonical_row")[:2] == [("r", "a", 6, 6), ("s", "a", 1, 1)]
    made = noted_sources(lake)
    assert {name: noted["tokens"]["fields"] for name, noted in made.items()} == {"s": ["title"], "r": ["title", "body"]}
    by_source = {(row[0], row[-1]) for row in items(lake, "tokenizer_sha256")}
    assert by_source <= {(name, sha256) for name, noted in made.items() for sha256 in noted["sha256"]}
    assert {name: noted["corpora"] for name, noted in made.items()} == {"s": {"title": 1}, "r": {"title": 2}}
    assert {row[-1] for row in items(lake, "tokens_version")} == {
        1,
        2,
    }  # 2: a, whose title changed


def test_a_lake_of_an_older_feedloop_gets_its_tokens_anew_under_the_same_rows(
    spark: SparkSession, tmp_path: Path
) -> None:
    lake = Lake(spark, str(tmp_path / "lake"))
    file = write_news(tmp_path, ("b", "Hello"), ("a", "World"))
    prepare_news(lake, file, CONFIG, source="s")
    made = items(lake, *ITEM_TOKENS.column_names[2:])
    newer = [column.name for column in ITEM_TOKENS.columns if column.nullable]
    with scratch() as keep:
        older = keep(lake.read(ITEM_TOKENS).drop(*newer).withColumn("tokenizer_sha256", F.lit("old")))
        older.write.format("delta").mode("overwrite").option("overwriteSchema", True).save(lake.path(ITEM_TOKENS))
    assert prepare_news(lake, file, CONFIG, source="s")["retokenised_items"] == 2
    assert items(lake, *ITEM_TOKENS.column_names[2:]) == made


@pytest.mark.parametrize("lines", [(), ('{"id": "n1", "headline": "x"}',), (("n1", ""), '{"title": "no id"}')])
def test_a_file_without_ids_and_titles_is_refused_before_any_write(
    spark: SparkSession, tmp_path: Path, lines: Sequence[Any]
) -> None:
    lake = Lake(spark, str(tmp_path / "lake"))
    with pytest.raises(InputError, match=rf"none of its {len(lines)} lines holds a news id and a title. Expected JSON"):
        prepare_news(lake, write_news(tmp_path, *lines), CONFIG, source="s")
    assert not (tmp_path / "lake").exists()


@pytest.mark.parametrize("part_rows", [1000, 90, 3])
def test_new_rows_are_dense_in_key_order_over_all_parts(spark: SparkSession, part_rows: int) -> None:
    keys = [(f"s{number % 2}", f"n{number:04d}", 1 if number % 5 == 0 else None) for number in range(500)]
    frame = spark.createDataFrame(keys, "source string, item_id string, item_row int").repartition(4)
    expected = sorted((source, item) for source, item, row in keys if row is None)
    with scratch() as keep:
        found = rows(assign_rows(frame, after=7, keep=keep, part_rows=part_rows), "new_row", "source", "item_id")
    assert sorted(found) == [(8 + place, *key) for place, key in enumerate(expected)]


class Overtaken(Lake):
    """A lake where another run of prepare_news commits just before this run's commit to a table."""

    def overtake_at(self, table: Table, news: Path) -> Overtaken:
        self.table, self.news = table.name, news
        return self

    def merge(self, table: Table, *what: Any, **how: Any) -> Changes:
        self._be_overtaken(table)
        return super().merge(table, *what, **how)

    def append(self, table: Table, *what: Any, **how: Any) -> int:
        self._be_overtaken(table)
        return super().append(table, *what, **how)

    def _be_overtaken(self, table: Table) -> None:
        if table.name == self.table:
            prepare_news(Lake(self.spark, self.root), self.news, CONFIG, source="s")


@pytest.mark.parametrize(("table", "made"), [(NEWS, False), (ITEM_TOKENS, True)], ids=["first run", "later run"])
def test_of_two_runs_at_once_one_is_asked_to_run_again_and_no_news_are_lost(
    spark: SparkSession, tmp_path: Path, table: Table, made: bool
) -> None:
    folders = [tmp_path / name for name in ("before", "ours", "theirs")]
    for folder in folders:
        folder.mkdir()
    before, ours, theirs = (
        write_news(folder, *news)
        for folder, news in zip(
            folders, ([("a", "Hello")], [("b", "World"), ("c", "x")], [("d", "Hello")]), strict=True
        )
    )
    lake = Overtaken(spark, str(tmp_path / "lake")).overtake_at(table, theirs)
    if made:
        prepare_news(Lake(spark, lake.root), before, CONFIG, source="s")
    with pytest.raises(InputError, match=rf"another run wrote table {table.name} at the same time.*run this again"):
        prepare_news(lake, ours, CONFIG, source="s")
    prepare_news(Lake(spark, lake.root), ours, CONFIG, source="s")
    ids = (["a"] if made else []) + ["b", "c", "d"]
    assert [row[1] for row in items(lake)] == rows_of(lake.read(NEWS)) == ids
    assert sorted(row[2] for row in items(lake, "item_row")) == list(range(1, len(ids) + 1))


def rows_of(news: DataFrame) -> list[str]:
    return [row[0] for row in rows(news, "news_id")]


def log(spark: SparkSession, shown: list[str], clicks: list[str]) -> tuple[DataFrame, DataFrame]:
    """The columns of IMPRESSIONS and HISTORIES that name news."""
    seen = spark.createDataFrame([("s", shown), ("s", shown[:1])], "source string, shown array<string>")
    return seen, spark.createDataFrame([("s", clicks)], "source string, clicks array<string>")


def test_ids_of_a_log_without_news_become_items_of_their_own_without_text(spark: SparkSession) -> None:
    nothing = spark.createDataFrame([], spark_schema(NEWS))
    news = news_of_log(*log(spark, ["b", "a"], ["c", "a", "c"]), nothing)
    assert rows(news, "source", "news_id", "title", "body") == [("s", name, "", "") for name in "abc"]

    known = news.transform(with_item, spark.createDataFrame([], spark_schema(ITEM_TOKENS)))
    with scratch() as keep:
        new = assign_rows(known, after=4, keep=keep)
        changed = changed_items(with_rows(known, new), {("s", ()): "k"})
        items = changed.transform(tokenised, NewsConfig().segmenting())
        found = rows(items, "item_id", "item_row", "canonical_row", "segment_tokens")
    empty = [[101, 102]]  # [CLS] and [SEP]
    assert found == [
        ("a", 5, 5, empty),  # no text is no equal text
        ("b", 6, 6, empty),
        ("c", 7, 7, empty),
    ]


def test_ids_that_have_text_keep_it(spark: SparkSession) -> None:
    held = spark.createDataFrame([("s", "a", "", "", "text", "", "", "x")], spark_schema(NEWS))
    assert rows(news_of_log(*log(spark, ["a", "b"], []), held), "news_id") == [("b",)]
