"""The same news give the same rows on every engine, bit for bit."""

from __future__ import annotations

import json
import random
from pathlib import Path

from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from pipelines.engine.scratch import scratch
from pipelines.news.category_prefix import text_sha256, with_category_prefix
from pipelines.news.corpus import with_idf, word_counts
from pipelines.news.flow import per_news
from pipelines.news.items import assign_rows, changed_items, with_item, with_rows
from pipelines.news.near_duplicates import near_duplicates
from pipelines.news.readers import read_news
from pipelines.news.segmenting import NewsConfig
from pipelines.news.stop_words import stop_words
from pipelines.news.tokens import refined
from schemas.as_spark import spark_schema
from schemas.news import ITEM_TOKENS
from tests.same_bits import digest

WORDS = ["the", "cat", "Dog", "elephants", "!", "über", "x1", "नहीं", "e\u0301t\u00e9", "<b>bold</b>", "&amp;"]
WORDS += ["\ufeff", "日本語"]
FILLED = [(), ("title",), ("body",), ("title", "body")]
EXPECTED = {
    "read": "547bbed16670899c",
    "news": "5711f46eefd186c9",
    "words": "880c6cfb86e716c9",
    "near": "16fa396ffbdb5fbb",
    "tokens": "647170464df487e2",
}


def news_file(folder: Path) -> Path:
    """Lines that repeat ids and texts, say too little, or are broken."""
    rng = random.Random(4)

    def text(most: int) -> str:
        return " ".join(rng.choices(WORDS, weights=range(len(WORDS), 0, -1), k=rng.randrange(most)))

    lines = []
    for _ in range(400):
        fields = {"news_id": f" n{rng.randrange(300)} ", "title": text(6), "body": text(60)}
        fields |= {
            "category": rng.choice(["sportsNFL", "food_and-drink", ""]),
            "subcategory": rng.choice(["", "Ärzte"]),
        }
        lines.append(json.dumps(fields, ensure_ascii=rng.random() < 0.5)[: rng.choice([9, 10_000, 10_000])])
    file = folder / "news.jsonl"
    file.write_text("\n".join(lines), encoding="utf-8")
    return file


def test_every_engine_same_provenance_of_a_news_file(spark: SparkSession, tmp_path: Path) -> None:
    found = {}
    with scratch() as keep:
        read = keep(read_news(spark, news_file(tmp_path), piece_bytes=5000).transform(per_news))
        found["read"] = digest(read.collect())
        named = read.where("news_id IS NOT NULL").withColumns({"source": F.lit("s"), "text_sha256": text_sha256()})
        news = keep(named.transform(with_category_prefix))
        found["news"] = digest(news.collect())

        words = keep(word_counts(news, ["title", "body"]).transform(with_idf))
        found["words"] = digest(words.collect())

        known = news.transform(with_item, spark.createDataFrame([], spark_schema(ITEM_TOKENS)))
        items = keep(with_rows(known, assign_rows(known, after=0, keep=keep, part_rows=40)))
        near = near_duplicates(items.where("item_row = canonical_row"), ["title"], threshold=0.5, keep=keep)
        found["near"] = digest(near.collect())

        config = NewsConfig(fields=("title", "body"), tokens_per_segment=12)
        changed = changed_items(items, {("s", fields): str(fields) for fields in FILLED})
        tokens = refined(changed, config.segmenting(), words, stop_words("en"), chunks=3)
        found["tokens"] = digest(tokens.collect())
    assert found == EXPECTED
