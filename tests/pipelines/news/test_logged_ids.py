from __future__ import annotations

from pyspark.sql import DataFrame, SparkSession

from pipelines.engine.scratch import scratch
from pipelines.news.items import assign_rows, changed_items, with_item, with_rows
from pipelines.news.logged_ids import news_of_log
from pipelines.news.segmenting import NewsConfig
from pipelines.news.tokens import tokenised
from schemas.as_spark import spark_schema
from schemas.news import ITEM_TOKENS, NEWS
from tests.builders import rows


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
