from __future__ import annotations

import random
from typing import Any

import pytest
from pyspark.sql import SparkSession

from pipelines.news.corpus import with_idf, word_counts
from tests.pipelines.news.slow_refinement import slow_idf, slow_words

WORDS = ["the", "cat", "Dog", "elephants", "!", "über", "x1", "नहीं", "rare"]


def random_texts(source: int) -> list[str]:
    """Some empty ones among them; in a corpus of one text no idf is positive."""
    rng = random.Random(source)
    return [" ".join(rng.choices(WORDS, weights=range(len(WORDS), 0, -1), k=rng.randrange(6))) for _ in range(source)]


def test_any_corpus_weighs_its_words_as_the_formulas_say(spark: SparkSession) -> None:
    corpora = {f"s{number}": random_texts(number) for number in range(1, 40)}
    rows = [(source, text, text[::-1]) for source, texts in corpora.items() for text in texts]
    news = spark.createDataFrame(rows, "source string, title string, body string").repartition(3)
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for row in word_counts(news, ["title", "body"]).transform(with_idf).collect():
        found.setdefault((row["source"], row["field"]), {})[row["word"]] = row["idf"], row["texts_with"]
    for source, texts in corpora.items():
        for field, field_texts in (("title", texts), ("body", [text[::-1] for text in texts])):
            words = [slow_words(text) for text in field_texts]
            slow = slow_idf(words)
            corpus = found.pop((source, field), {})
            unseen, texts_with_any = corpus.pop("", (None, 0))
            assert {word: idf for word, (idf, _) in corpus.items()} == pytest.approx(slow)
            assert {word: df for word, (_, df) in corpus.items()} == {
                word: sum(word in each for each in words) for word in slow
            }
            assert texts_with_any == sum(bool(each) for each in words)
            assert texts_with_any == 0 or unseen > max(slow.values())
    assert not found
