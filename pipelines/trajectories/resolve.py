"""Resolve: news ids of histories and shown lists -> item rows; ids without an item are dropped and counted."""

from __future__ import annotations

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

HISTORY, SHOWN = 0, 1  # which list of the impression a news stands in
_CARRIED = ("source", "impression_id", "user_id", "time", "evaluated")


def with_known_news(views: DataFrame, items: DataFrame) -> DataFrame:
    """Impressions as `found` (their known news: list, position, id, click mark, rows) and `unknown` (how many others).

    Impressions of which nothing is listed are dropped: they show nothing to learn from or to judge.
    """
    listed = views.select(*_CARRIED, F.explode(F.concat(_history(), _shown())).alias("news"))
    rows = items.select(F.col("item_id").alias("known_id"), "item_row", "canonical_row")
    known = listed.join(rows, F.col("news.news_id") == F.col("known_id"), how="left")
    news = F.struct("news.list", "news.position", "news.news_id", "news.clicked", "item_row", "canonical_row")
    return known.groupBy(*_CARRIED).agg(
        F.sort_array(F.collect_list(F.when(F.col("item_row").isNotNull(), news))).alias("found"),
        F.count_if(F.col("item_row").isNull()).alias("unknown"),
    )


def found_in(which: int) -> Column:
    """The known news of one list, in its order."""
    return F.filter("found", lambda news: news["list"] == which)


def _history() -> Column:
    return F.transform("history", lambda news_id, at: _entry(HISTORY, at, news_id, F.lit(False)))


def _shown() -> Column:
    both = F.arrays_zip("shown", "clicked")
    return F.transform(both, lambda news, at: _entry(SHOWN, at, news["shown"], news["clicked"]))


def _entry(which: int, position: Column, news_id: Column, clicked: Column) -> Column:
    return F.struct(
        F.lit(which).alias("list"),
        position.alias("position"),
        news_id.alias("news_id"),
        clicked.alias("clicked"),
    )
