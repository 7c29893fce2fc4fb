"""Content refinement from end to end: real articles, languages, corpora that stay and are made anew."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession
from tokenizers import Tokenizer

from pipelines.making import TABLES_OF
from pipelines.news.flow import prepare_news
from pipelines.news.segmenting import NewsConfig, Segmenting
from pipelines.news.stop_words import stop_words
from pipelines.tables import Lake
from schemas.news import CORPUS_STATISTICS, FIELDS, ITEM_TOKENS, NEWS
from tests.builders import rows
from tests.pipelines.news.slow_refinement import slow_idf, slow_keywords, slow_words

ARTICLES = NewsConfig(fields=FIELDS)


def write(folder: Path, **bodies: str) -> Path:
    lines = [json.dumps({"news_id": name, "title": name, "body": body}) for name, body in bodies.items()]
    (folder / "news.jsonl").write_text("\n".join(lines))
    return folder


def told(lake: Lake, column: str) -> dict[str, Any]:
    """News id -> the column of its item."""
    return dict(rows(lake.read(ITEM_TOKENS), "item_id", column))


def slow_segment(text: str, segmenting: Segmenting, tokenizer: Tokenizer, idf: dict[str, float]) -> tuple[Any, ...]:
    """(tokens, tokens of the whole text, frequency, position) of one field."""
    whole = tokenizer.encode(text).ids
    if len(whole) <= segmenting.tokens_per_segment:
        return whole, len(whole), [], []
    room = segmenting.tokens_per_segment - 2
    ids = {word: tokenizer.encode(word, add_special_tokens=False).ids for word in set(slow_words(text))}
    kept = slow_keywords(
        slow_words(text), idf, stop_words("en"), lambda w: len(ids[w]), room, by_score=segmenting.select == "score"
    )
    tokens = [token for word, _, _ in kept for token in ids[word]]
    often, places = ([0, *(value for k in kept for value in [k[at] + (at == 2)] * len(ids[k[0]])), 0] for at in (1, 2))
    return [whole[0], *tokens, whole[-1]], len(whole), often, places


def test_real_articles_are_refined_word_for_word_as_the_formulas_say(
    spark: SparkSession, tmp_path: Path, shared_data: Path
) -> None:
    lake = Lake(spark, str(tmp_path / "lake"))
    file = shared_data / "articles" / "articles.tsv.gz"
    for select in ("text", "score"):
        config = replace(ARTICLES, select=select)
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
    assert lake.versions([CORPUS_STATISTICS]) == {"corpus_statistics": 1}  # one corpus for both runs


LONG = "volcano harbour morning lantern copper"  # one piece each


def test_a_corpus_stays_until_it_is_asked_for_anew(spark: SparkSession, tmp_path: Path) -> None:
    lake = Lake(spark, str(tmp_path / "lake"))
    config = NewsConfig(tokens_per_segment=5, fields=("body",))
    first = prepare_news(lake, write(tmp_path, a=LONG, b="harbour news", c=""), config, source="s")
    assert first["corpora"] == {"body": {"corpus": 1, "texts": 2, "texts_now": 2}}
    assert (first["items_without_text"], first["refined_segments"]) == (1, 1)
    tokens, counted = told(lake, "segment_tokens"), rows(lake.read(CORPUS_STATISTICS), "word", "idf")

    later = {f"n{number}": "volcano lantern news" for number in range(8)}
    second = prepare_news(lake, write(tmp_path, **later), config, source="s")
    assert second["corpora"] == {"body": {"corpus": 1, "texts": 2, "texts_now": 10}}
    assert (second["new_items"], second["retokenised_items"]) == (8, 0)
    assert rows(lake.read(CORPUS_STATISTICS), "word", "idf") == counted
    assert {name: held for name, held in told(lake, "segment_tokens").items() if name in tokens} == tokens

    third = prepare_news(lake, tmp_path, replace(config, new_corpus=True, select="score"), source="s")
    assert third["corpora"] == {"body": {"corpus": 2, "texts": 10, "texts_now": 10}}
    assert (third["new_items"], third["retokenised_items"]) == (0, 11)
    assert told(lake, "segment_tokens")["a"] != tokens["a"]
    versions = told(lake, "tokens_version")
    assert {name for name, version in versions.items() if version == 2} == {"a"}  # alone its tokens are others now
    assert json.loads(lake.notes(ITEM_TOKENS)["made_from"])["sources"]["s"]["corpora"] == {"body": 2}


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


@dataclass
class Failing:
    """Counts commits, and stands for a kill before the `at`-th."""

    at: int
    commits: int = 0

    def next(self) -> None:
        self.commits += 1
        if self.commits == self.at:
            raise KeyboardInterrupt


def failing(lake: Lake, monkeypatch: pytest.MonkeyPatch, at: int) -> Failing:
    """The lake's commits counted, the `at`-th never made."""
    kill = Failing(at)
    for name in ("merge", "overwrite", "set_properties"):
        write = getattr(lake, name)

        def counted(*args: Any, write: Any = write, **options: Any) -> Any:
            kill.next()
            return write(*args, **options)

        monkeypatch.setattr(lake, name, counted)
    return kill


def test_a_run_killed_before_any_of_its_commits_is_completed_by_the_next(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, more = tmp_path / "first", tmp_path / "more"
    for folder in (first, more):
        folder.mkdir()
    write(first, a=LONG, b="harbour news")
    write(more, a=LONG + " zebra", c="lantern og zebra news and more of it", d="lantern og zebra news and more of them")
    before = NewsConfig(tokens_per_segment=5, fields=("body",))
    after = replace(before, language="da", new_corpus=True, near_duplicates=0.6)
    prepare_news(Lake(spark, str(tmp_path / "base")), first, before, source="s")

    def copied(name: str) -> Lake:
        shutil.copytree(tmp_path / "base", tmp_path / name)
        return Lake(spark, str(tmp_path / name))

    def held(lake: Lake) -> list[Any]:
        kept = [name for name in ITEM_TOKENS.column_names if name != "tokenizer_sha256"]
        return [rows(lake.read(ITEM_TOKENS), *kept), rows(lake.read(CORPUS_STATISTICS), "word", "texts_with")]

    whole = copied("whole")
    with monkeypatch.context() as patch:
        counted = failing(whole, patch, at=-1)
        prepare_news(whole, more, after, source="s")
    assert counted.commits >= 5  # NEWS, corpus, near-duplicates, note, ITEM_TOKENS
    for at in range(1, counted.commits + 1):
        lake = copied(f"killed-{at}")
        with monkeypatch.context() as patch:
            failing(lake, patch, at)
            with pytest.raises(KeyboardInterrupt):
                prepare_news(lake, more, after, source="s")
        prepare_news(lake, more, after, source="s")
        assert held(lake) == held(whole)


def test_each_source_keeps_its_language_and_corpus(spark: SparkSession, tmp_path: Path) -> None:
    lake = Lake(spark, str(tmp_path / "lake"))
    config = NewsConfig(tokens_per_segment=5, fields=("body",))
    danish = {"a": "og det er en havn ved byen", "b": "the harbour of the town and the people"}
    prepare_news(lake, write(tmp_path, **danish), replace(config, language="da"), source="danish")
    prepare_news(lake, write(tmp_path, c="the harbour of the town and the people"), config, source="english")
    made = json.loads(lake.notes(ITEM_TOKENS)["made_from"])["sources"]
    assert {name: found["language"] for name, found in made.items()} == {"danish": "da", "english": "en"}
    positions = told(lake, "segment_position")
    assert 1 in positions["b"][0]  # to Danish, "the" is a word as any other
    assert 1 not in positions["c"][0]
    again = prepare_news(lake, tmp_path, replace(config, tokens_per_segment=6), source="english")
    assert again["retokenised_items"] == 3
    assert 1 in told(lake, "segment_position")["b"][0]


def test_without_refinement_there_is_no_corpus(spark: SparkSession, tmp_path: Path) -> None:
    lake = Lake(spark, str(tmp_path / "lake"))
    config = NewsConfig(tokens_per_segment=5, fields=("body",), select="start")
    counts = prepare_news(lake, write(tmp_path, a=LONG), config, source="s")
    assert "corpora" not in counts
    assert not lake.exists(CORPUS_STATISTICS)
    assert (counts["tokens"], counts["refined_segments"]) == (5, 0)
    assert prepare_news(lake, tmp_path, replace(config, select="text"), source="s")["refined_segments"] == 1
