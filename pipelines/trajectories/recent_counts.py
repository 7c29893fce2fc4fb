"""Counts how often each candidate of an evaluated impression was shown and clicked in the day before it."""

from __future__ import annotations

from datetime import datetime, timedelta

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

SPAN = timedelta(hours=24)
_MICROSECONDS = int(SPAN.total_seconds()) * 1_000_000
_COUNTS = {"shown": "recent_shown", "clicks": "recent_clicks"}


def showings(impressions: DataFrame, items: DataFrame, *, since: datetime) -> DataFrame:
    """(row, at, shown, clicks) of each entry of a labelled impression from SPAN before `since` on, by canonical row."""
    seen = impressions.where(F.col("clicked").isNotNull() & (F.col("time") >= F.lit(since - SPAN)))
    entries = seen.select(F.unix_micros("time").alias("at"), F.explode(F.arrays_zip("shown", "clicked")).alias("entry"))
    rows = items.select(F.col("item_id").alias("id"), F.col("canonical_row").alias("row"))
    return (
        entries.select("at", F.col("entry.shown").alias("id"), F.col("entry.clicked").cast("long").alias("clicks"))
        .join(rows, "id", how="inner")
        .select("row", "at", F.lit(1).cast("long").alias("shown"), "clicks")
    )


def with_recent(evaluated: DataFrame, showings: DataFrame) -> DataFrame:
    """Adds `recent_shown` and `recent_clicks`, one count for each of `shown_row`, to evaluated impressions.

    A showing counts for impressions of the following 24 hours, never for its own moment. `view` identifies impressions.

    Each showing adds to a running sum when it happens and is subtracted a day later: one sum over each item's events,
    because Spark would recompute a moving frame for every row.
    """
    asked = evaluated.select("view", F.unix_micros("time").alias("at"), F.posexplode("shown_row").alias("place", "row"))
    no_view = {"view": F.lit(None).cast("long"), "place": F.lit(None).cast("int")}
    begins = showings.withColumns(no_view)
    ends = begins.withColumns({"at": F.col("at") + _MICROSECONDS, "shown": -F.col("shown"), "clicks": -F.col("clicks")})
    zero = F.lit(0).cast("long")
    events = asked.withColumns({"shown": zero, "clicks": zero}).unionByName(begins).unionByName(ends)
    before = Window.partitionBy("row").orderBy("at").rangeBetween(Window.unboundedPreceding, -1)
    sums = [F.coalesce(F.sum(name).over(before), zero).alias(column) for name, column in _COUNTS.items()]
    counted = events.select("view", "place", *sums).where(F.col("view").isNotNull())
    lists = counted.groupBy("view").agg(
        F.sort_array(F.collect_list(F.struct("place", *_COUNTS.values()))).alias("_counts")
    )
    found = evaluated.join(lists, "view", how="left")
    return found.withColumns({column: F.col(f"_counts.{column}") for column in _COUNTS.values()}).drop("_counts")
