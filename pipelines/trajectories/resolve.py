"""Resolve: news ids of histories and shown lists -> canonical rows; ids without an item are dropped and counted."""

from __future__ import annotations

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

_PLACE, _CLICKED, _ROW = 33, 1 << 32, (1 << 32) - 1  # one long: place in its list, click mark, canonical row


def with_known_news(views: DataFrame, items: DataFrame) -> DataFrame:
    """Impressions that list some news, these as canonical rows in their order: `history_row`, `shown_row`, `clicked`.

    `unknown` counts the ids that have no item. `shown_id` is kept where the impression is evaluated. Lists are taken
    apart and put together under the impression's number `view`, which persisted `views` must hold, a long per news:
    grouping structs by the impression's own key was several times slower when it was tried.
    """
    listed = views.select(
        "view", "clicked", F.size("history").alias("past"), F.posexplode(F.concat("history", "shown")).alias("at", "id")
    )
    known = listed.join(items.select(F.col("item_id").alias("id"), "canonical_row"), "id", how="left")
    place = F.col("at") - F.col("past")  # negative in histories
    mark = F.when(F.get("clicked", place), F.lit(_CLICKED)).otherwise(F.lit(0))
    news = F.shiftleft(place.cast("long"), _PLACE) + mark + F.col("canonical_row")
    found = known.select("view", news.alias("news")).groupBy("view")
    both = found.agg(
        F.sort_array(F.collect_list(F.when(F.col("news") < 0, F.col("news")))).alias("_history"),
        F.sort_array(F.collect_list(F.when(F.col("news") >= 0, F.col("news")))).alias("_shown"),
    )
    shown_id = F.transform("_shown", lambda news: F.get("shown", F.shiftright(news, _PLACE).cast("int")))
    return views.join(both, "view", how="inner").select(
        "source",
        "impression_id",
        "user_id",
        "time",
        "evaluated",
        F.transform("_history", _row_of).alias("history_row"),
        F.transform("_shown", _row_of).alias("shown_row"),
        F.transform("_shown", lambda news: news.bitwiseAND(_CLICKED) != 0).alias("clicked"),
        F.when(F.col("evaluated"), shown_id).alias("shown_id"),
        (F.size("history") + F.size("shown") - F.size("_history") - F.size("_shown")).alias("unknown"),
    )


def _row_of(news: Column) -> Column:
    return news.bitwiseAND(_ROW).cast("int")
