"""Concerned: of all news of a source those whose items a few changed news can change."""

from __future__ import annotations

from collections.abc import Mapping

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from pipelines.engine.scratch import Keep
from pipelines.news.category_prefix import NO_TEXT_SHA256
from pipelines.news.corpus import texts_of
from pipelines.news.unchanged import Start
from schemas.news import FIELDS, NEWS


def keep_changed(news: DataFrame, held: DataFrame) -> DataFrame:
    """The news that NEWS does not hold with the same values; `old_sha256` of its text, null where it holds none."""
    values = ("category", "subcategory", "text_sha256")
    before = held.select(*NEWS.key, F.struct(*values).alias("before"))
    same = F.col("before").eqNullSafe(F.struct(*values))
    found = news.join(before, [*NEWS.key], how="left").where(~same)
    return found.withColumn("old_sha256", F.col("before.text_sha256")).drop("before")


def concerned(news: DataFrame, changed: DataFrame, *, keep: Keep) -> DataFrame:
    """The changed news and those that have or had their text in common with one, for one item stands for all of these.

    `news` are all of the source as they are now, `changed` is as of `keep_changed`. Where the items of all others are
    up to date, the items of these are all that can be new or other than they are.
    """
    texts = changed.select("text_sha256").union(changed.select(F.col("old_sha256")))
    shared = texts.where(F.col("text_sha256") != NO_TEXT_SHA256).distinct()  # items without text share nothing
    alike = news.select("news_id", "text_sha256").join(shared, "text_sha256", how="left_semi")
    others = keep(alike.select("news_id").join(changed, "news_id", how="left_anti"))
    own = changed.select(*NEWS.column_names)
    if others.isEmpty():  # then the texts of all the others need not be read
        return own
    return own.unionByName(news.join(others, "news_id", how="left_semi").select(*NEWS.column_names))


def texts_now(news: DataFrame, start: Start, changed: DataFrame) -> Mapping[str, int]:
    """Field -> how many news have text there: all of them are counted only where it is not known of the older ones."""
    if not start.texts or not changed.where(F.col("old_sha256").isNotNull()).isEmpty():
        return texts_of(news)
    added = texts_of(changed)
    return {field: start.texts[field] + added[field] for field in FIELDS}
