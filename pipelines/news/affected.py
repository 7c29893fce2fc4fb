"""Finds the news of a source whose items can change when a few of its news change."""

from __future__ import annotations

from collections.abc import Mapping

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from pipelines.engine.scratch import Keep
from pipelines.news.category_prefix import NO_TEXT_SHA256
from pipelines.news.corpus import count_texts
from pipelines.news.unchanged import RunStart
from schemas.news import FIELDS, NEWS


def keep_changed(news: DataFrame, held: DataFrame) -> DataFrame:
    """The news that NEWS lacks or holds with other values, with `old_sha256` of the stored text, null if none."""
    values = ("category", "subcategory", "text_sha256")
    before = held.select(*NEWS.key, F.struct(*values).alias("before"))
    same = F.col("before").eqNullSafe(F.struct(*values))
    found = news.join(before, [*NEWS.key], how="left").where(~same)
    return found.withColumn("old_sha256", F.col("before.text_sha256")).drop("before")


def affected_news(news: DataFrame, changed: DataFrame, *, keep: Keep) -> DataFrame:
    """The changed news, and the news that share or shared their text: one canonical item serves all of them.

    `news` are all present news of the source, `changed` is from `keep_changed`. If all other items are up to date, only
    the items of these news can be new or differ.
    """
    texts = changed.select("text_sha256").union(changed.select(F.col("old_sha256")))
    shared = texts.where(F.col("text_sha256") != NO_TEXT_SHA256).distinct()  # items without text share nothing
    alike = news.select("news_id", "text_sha256").join(shared, "text_sha256", how="left_semi")
    others = keep(alike.select("news_id").join(changed, "news_id", how="left_anti"))
    own = changed.select(*NEWS.column_names)
    if others.isEmpty():  # then the texts of all other news need not be read
        return own
    return own.unionByName(news.join(others, "news_id", how="left_semi").select(*NEWS.column_names))


def count_texts_now(news: DataFrame, start: RunStart, changed: DataFrame) -> Mapping[str, int]:
    """Field -> number of news with text there. Counts all news only if the number of the older ones is unknown."""
    if not start.texts or not changed.where(F.col("old_sha256").isNotNull()).isEmpty():
        return count_texts(news)
    added = count_texts(changed)
    return {field: start.texts[field] + added[field] for field in FIELDS}
