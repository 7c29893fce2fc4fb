from __future__ import annotations

from pathlib import Path

from pyspark.sql import SparkSession

from pipelines.lake.tables import Lake
from pipelines.news.category_prefix import with_category_prefix
from pipelines.news.flow import prepare_news
from pipelines.news.segmenting import NewsConfig
from schemas.as_spark import spark_schema
from schemas.news import ITEM_TOKENS, NEWS
from tests.builders import rows
from tests.pipelines.news.test_flow import items

CLS, SEP, COLON, SPORTS, HEALTH, HELLO = 101, 102, 1024, 2998, 2740, 7592


def test_titles_begin_with_readable_categories_and_hash_as_they_stand(spark: SparkSession) -> None:
    titled = [
        ("a", "sports", "football_nfl", "Hello"),
        ("b", "FoodAndDrink", "", "Hello"),
        ("c", "", "", "Hello"),
        ("d", "sports", "golf", ""),
        ("e", "", "health-news", "Hello"),
    ]
    news = spark.createDataFrame([("s", *each, "", "", "old") for each in titled], spark_schema(NEWS)).transform(
        with_category_prefix
    )
    assert rows(news, "news_id", "title") == [
        ("a", "sports football nfl: Hello"),
        ("b", "food and drink: Hello"),
        ("c", "Hello"),
        ("d", ""),  # no text is no text
        ("e", "health news: Hello"),
    ]
    assert len(set(rows(news, "text_sha256"))) == len(titled)


def test_another_category_makes_other_tokens_only_where_it_stands_first(spark: SparkSession, tmp_path: Path) -> None:
    def prepared(lake: Lake, category: str, *, first: bool) -> int:
        (tmp_path / "news.jsonl").write_text(f'{{"news_id": "a", "category": "{category}", "title": "Hello"}}\n')
        counts = prepare_news(lake, tmp_path, NewsConfig(category_first=first), source="s")
        return int(counts["new_items"] + counts["retokenised_items"])

    lake = Lake(spark, str(tmp_path / "lake"))
    assert prepared(lake, "sports", first=False) == 1
    assert prepared(lake, "health", first=False) == 0
    assert prepared(lake, "sports", first=True) == 1
    assert items(lake, "segment_tokens", "tokens_version") == [("s", "a", [[CLS, SPORTS, COLON, HELLO, SEP]], 2)]
    assert prepared(lake, "sports", first=True) == 0
    assert prepared(lake, "health", first=True) == 1
    assert items(lake, "segment_tokens", "tokens_version") == [("s", "a", [[CLS, HEALTH, COLON, HELLO, SEP]], 3)]
    assert rows(lake.read(NEWS), "title") == [("Hello",)]  # the news themselves stay unchanged
    assert lake.read(ITEM_TOKENS).count() == 1
