"""Resolves the news ids of histories and shown lists to canonical rows and ages, and counts ids without an item."""

from __future__ import annotations

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from schemas.news import PAD_ROW

_PLACE, _CLICKED, _ROW = 33, 1 << 32, (1 << 32) - 1  # one long: place in its list, click mark, canonical row
_AGE_PLACE, _AGE = 42, (1 << 42) - 1  # another: place, and milliseconds since the news was first shown
_HOUR_MS = 3_600_000


def with_first_shown(items: DataFrame, impressions: DataFrame) -> DataFrame:
    """(id, canonical_row, first_ms): when a news, under any id of its row, was first shown in these impressions.

    One row for every id that has an item or was shown. An id without an item has no canonical row and its own time.
    """
    showings = impressions.select(F.explode("shown").alias("id"), F.unix_millis("time").alias("at"))
    shown = showings.groupBy("id").agg(F.min("at").alias("at"))
    known = items.select(F.col("item_id").alias("id"), "canonical_row").join(shown, "id", how="full")
    same = Window.partitionBy("canonical_row", F.when(F.col("canonical_row").isNull(), F.col("id")))
    return known.select("id", "canonical_row", F.min("at").over(same).alias("first_ms"))


def with_known_news(views: DataFrame, news: DataFrame) -> DataFrame:
    """Impressions with any news, listed as canonical rows in their order: `history_row`, `shown_row`, `clicked`.

    `unknown` counts the ids without an item. They are dropped, except from the shown lists of unlabelled impressions,
    where they get the pad's row. Evaluated impressions keep `shown_id` and `shown_age_hours`. `news` is from
    `with_first_shown`; no age depends on later times, because the impression itself showed its news. Lists are exploded
    and grouped by the impression's number `view`, with one long per news: grouping structs by the impression's own key
    was several times slower. `views` is read twice, so pass a materialised frame.
    """
    listed = views.select(
        "view",
        "clicked",
        F.when(F.col("evaluated"), F.unix_millis("time")).alias("now"),
        F.size("history").alias("past"),
        F.posexplode(F.concat("history", "shown")).alias("at", "id"),
    )
    place = (F.col("at") - F.col("past")).cast("long")  # negative in histories
    mark = F.when(F.get("clicked", place.cast("int")), F.lit(_CLICKED)).otherwise(F.lit(0))
    row = F.coalesce("canonical_row", F.when(F.col("clicked").isNull() & (place >= 0), F.lit(PAD_ROW)))
    entry, age = (
        F.shiftleft(place, _PLACE) + mark + row,
        F.shiftleft(place, _AGE_PLACE) + F.col("now") - F.col("first_ms"),
    )
    found = listed.join(news, "id", how="left").select("view", entry.alias("entry"), age.alias("age"))
    shown = F.col("entry") >= 0
    lists = found.groupBy("view").agg(
        F.sort_array(F.collect_list(F.when(F.col("entry") < 0, F.col("entry")))).alias("_history"),
        F.sort_array(F.collect_list(F.when(shown, F.col("entry")))).alias("_shown"),
        F.sort_array(F.collect_list(F.when(shown, F.col("age")))).alias("_ages"),
    )
    shown_id = F.transform("_shown", lambda entry: F.get("shown", F.shiftright(entry, _PLACE).cast("int")))
    marks = F.transform("_shown", lambda entry: entry.bitwiseAND(_CLICKED) != 0)
    without_item = F.size(F.filter("_shown", lambda entry: _row_of(entry) == PAD_ROW))
    return views.join(lists, "view", how="inner").select(
        "view",
        "source",
        "impression_id",
        "user_id",
        "time",
        "evaluated",
        "new_user",
        "also_seen_as",
        F.transform("_history", _row_of).alias("history_row"),
        F.transform("_shown", _row_of).alias("shown_row"),
        F.when(F.col("clicked").isNotNull(), marks).alias("clicked"),
        F.when(F.col("evaluated"), shown_id).alias("shown_id"),
        F.transform("_ages", lambda age: age.bitwiseAND(_AGE) / _HOUR_MS).alias("shown_age_hours"),
        (F.size("history") + F.size("shown") - F.size("_history") - F.size("_shown") + without_item).alias("unknown"),
    )


def _row_of(entry: Column) -> Column:
    return entry.bitwiseAND(_ROW).cast("int")
