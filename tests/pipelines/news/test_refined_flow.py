"""Content refinement from end to end: real articles, languages, corpora that stay and are counted again."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession
from tokenizers import Tokenizer

from pipelines.delta.table_ddl import TABLES_OF
from pipelines.lake.notes import noted_sources
from pipelines.lake.tables import Lake
from pipelines.news.flow import prepare_news
from pipelines.news.segmenting import NewsConfig, Segmenting, Select
from pipelines.news.stop_words import stop_words
from schemas.news import CORPUS_STATISTICS, FIELDS, ITEM_TOKENS, NEWS
from tests.builders import rows
from tests.pipelines.news.slow_refinement import slow_idf, slow_keywords, slow_words


def write(folder: Path, **bodies: str) -> Path:
    lines = [json.dumps({"news_id": name, "title": name, "body": body}) for name, body in bodies.items()]
    (folder / "news.jsonl").write_text("\n".join(lines))
    return folder


def column_by_item(lake: Lake, column: str) -> dict[str, Any]:
    """News id -> the column of its item."""
    return dict(rows(lake.read(ITEM_TOKENS), "item_id", column))


def slow_segment(text: str, segmenting: Segmenting, tokenizer: Tokenizer, idf: dict[str, float]) -> tuple[Any, ...]:
    """(tokens, tokens of the complete text, frequency, position) of one field."""
    every = tokenizer.encode(text).ids
    if len(every) <= segmenting.tokens_per_segment:
        return every, len(every), [], []
    room = segmenting.tokens_per_segment - 2
    ids = {word: tokenizer.encode(word, add_special_tokens=False).ids for word in set(slow_words(text))}
    kept = slow_keywords(
        slow_words(text), idf, stop_words("en"), lambda w: len(ids[w]), room, by_score=segmenting.select == "score"
    )
    tokens = [token for word, _, _ in kept for token in ids[word]]
    often, places = ([0, *(value for k in kept for value in [k[at] + (at == 2)] * len(ids[k[0]])), 0] for at in (1, 2))
    return [every[0], *tokens, every[-1]], len(every), often, places


@pytest.mark.parametrize("select", ["text", pytest.param("score", marks=pytest.mark.slow)])
def test_real_articles_are_refined_word_for_word_as_the_formulas_say(
    spark: SparkSession, tmp_path: Path, shared_data: Path, select: Select
) -> None:
    lake = Lake(spark, str(tmp_path / "lake"))
    file = shared_data / "articles" / "articles.tsv.gz"
    config = NewsConfig(fields=FIELDS, select=select)
    counts = prepare_news(lake, file, config, source="s")
    assert (counts["news"], counts["rejected"]) == (500, 0)
    news = {row["news_id"]: row for row in lake.read(NEWS).collect()}
    segmenting = config.segmenting()
    tokenizer = segmenting.build()
    idf = {field: slow_idf([slow_words(row[field]) for row in news.values()]) for field in FIELDS}
    for row in lake.read(ITEM_TOKENS).collect():
        texts = {place: news[row["item_id"]][field] for place, field in enumerate(FIELDS)}
        assert row["segment_field"] == [place for place, text in texts.items() if text]
        columns = ("segment_tokens", "segment_full_tokens", "segment_frequency", "segment_position")
        segments = list(zip(*(row[name] for name in columns), strict=True))
        for place, segment in zip(row["segment_field"], segments, strict=True):
            assert segment == slow_segment(texts[place], segmenting, tokenizer, idf[FIELDS[place]])
    assert counts["tokens"] < counts["full_tokens"] / 5


LONG = "volcano harbour morning lantern copper"  # one piece each


def test_a_corpus_stays_until_it_is_asked_for_anew(spark: SparkSession, tmp_path: Path) -> None:
    lake = Lake(spark, str(tmp_path / "lake"))
    config = NewsConfig(tokens_per_segment=5, fields=("body",))
    first = prepare_news(lake, write(tmp_path, a=LONG, b="harbour news", c=""), config, source="s")
    assert first["corpora"] == {"body": {"corpus": 1, "texts": 2, "texts_now": 2}}
    assert (first["items_without_text"], first["refined_segments"]) == (1, 1)
    tokens, counted = column_by_item(lake, "segment_tokens"), rows(lake.read(CORPUS_STATISTICS), "word", "idf")

    later = {f"n{number}": "volcano lantern news" for number in range(8)}
    second = prepare_news(lake, write(tmp_path, **later), config, source="s")
    assert second["corpora"] == {"body": {"corpus": 1, "texts": 2, "texts_now": 10}}
    assert (second["new_items"], second["retokenised_items"]) == (8, 0)
    assert rows(lake.read(CORPUS_STATISTICS), "word", "idf") == counted
    assert {name: held for name, held in column_by_item(lake, "segment_tokens").items() if name in tokens} == tokens

    third = prepare_news(lake, tmp_path, replace(config, new_corpus=True, select="score"), source="s")
    assert third["corpora"] == {"body": {"corpus": 2, "texts": 10, "texts_now": 10}}
    assert (third["new_items"], third["retokenised_items"]) == (0, 11)
    assert column_by_item(lake, "segment_tokens")["a"] != tokens["a"]
    versions = column_by_item(lake, "tokens_version")
    assert {name for name, version in versions.items() if version == 2} == {"a"}  # alone its tokens are others now
    assert noted_sources(lake)["s"]["corpora"] == {"body": 2}


def test_a_field_gets_its_corpus_when_first_it_holds_text(spark: SparkSession, tmp_path: Path) -> None:
    lake = Lake(spark, str(tmp_path / "lake"))
    config = NewsConfig(tokens_per_segment=8, fields=("title", "body"))
    assert set(prepare_news(lake, write(tmp_path, a=""), config, source="s")["corpora"]) == {"title"}
    counts = prepare_news(lake, write(tmp_path, b=LONG, c="😀" * 9), config, source="s")
    assert set(counts["corpora"]) == {"title", "body"}
    assert counts["retokenised_items"] == 0  # a has no body: this corpus does not concern it
    versions = lake.versions(TABLES_OF["prepare_news"])
    assert prepare_news(lake, tmp_path, config, source="s")["new_items"] == 0
    assert lake.versions(TABLES_OF["prepare_news"]) == versions


def test_a_field_of_signs_alone_is_counted_once(spark: SparkSession, tmp_path: Path) -> None:
    lake = Lake(spark, str(tmp_path / "lake"))
    config = NewsConfig(tokens_per_segment=5, fields=("body",))
    counts = prepare_news(lake, write(tmp_path, a="😀 " * 9), config, source="s")
    assert counts["corpora"] == {"body": {"corpus": 1, "texts": 0, "texts_now": 1}}
    assert (counts["tokens"], counts["refined_segments"]) == (5, 0)
    versions = lake.versions(TABLES_OF["prepare_news"])
    assert prepare_news(lake, tmp_path, config, source="s")["retokenised_items"] == 0
    assert lake.versions(TABLES_OF["prepare_news"]) == versions


def test_statistics_that_were_lost_are_counted_anew_and_all_is_made_by_them(
    spark: SparkSession, tmp_path: Path
) -> None:
    lake = Lake(spark, str(tmp_path / "lake"))
    config = NewsConfig(tokens_per_segment=5, fields=("body",))
    prepare_news(lake, write(tmp_path, a=LONG, b=""), config, source="s")
    shutil.rmtree(tmp_path / "lake" / "corpus_statistics")
    counts = prepare_news(lake, tmp_path, config, source="s")
    assert (counts["retokenised_items"], counts["corpora"]["body"]["corpus"]) == (2, 1)
