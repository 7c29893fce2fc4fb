"""Evaluates clicks of logs without unclicked news against news drawn from the clicks of the day."""

from __future__ import annotations

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from pipelines.trajectories.day_negatives import clicks_of_days, with_drawn_rows

_HOUR_MS = 3_600_000
_ENTRIES = "array<struct<row:int,id:string,age:double,clicked:boolean>>"
_RANKED = ("shown_row", "shown_id", "clicked", "shown_age_hours")


def with_drawn_candidates(views: DataFrame, news: DataFrame, *, count: int, seed: int) -> DataFrame:
    """The sampled views; a view with a click shows the clicked news and up to `count` drawn news.

    `news` is from `with_first_shown`. Drawn news were clicked by others on that day before the view, and never in the
    log by the view's user. `drawn` marks these views. Unlabelled views stay unchanged; labelled views without a click
    are dropped, as they cannot be ranked. The order is random, so that equal scores gain nothing.
    """
    clicked = F.col("clicked").isNotNull() & (F.size("click_row") > 0)
    user = Window.partitionBy("source", "user_id")
    own = F.flatten(F.collect_list(F.concat("history_row", "click_row")).over(user))
    coin = F.xxhash64(F.lit(seed).cast("long"), F.unix_micros("time"), F.get("click_row", F.lit(0)))
    asking = views.withColumn("own", own).where(F.col("in_sample") & clicked)
    drawn = with_drawn_rows(asking, clicks_of_days(views), F.col("time"), coin, count=count)
    others = F.transform("drawn_row", lambda row: _entry(row, clicked=False))
    entries = F.concat(_clicked_entries().cast(_ENTRIES), others.cast(_ENTRIES))
    each = drawn.select("view", F.unix_millis("time").alias("now"), F.inline(entries))
    ids = news.groupBy(F.col("canonical_row").alias("row")).agg(
        F.min("id").alias("any_id"), F.min("first_ms").alias("first_ms")
    )
    named = each.join(ids, "row", how="left").select(
        "view",
        F.struct(
            F.xxhash64(F.lit(seed).cast("long"), "now", "row").alias("place"),
            F.col("row").alias("shown_row"),
            F.coalesce("id", "any_id").alias("shown_id"),
            "clicked",
            F.coalesce("age", (F.col("now") - F.col("first_ms")) / _HOUR_MS).alias("shown_age_hours"),
        ).alias("entry"),
    )
    ranked = named.groupBy("view").agg(F.sort_array(F.collect_list("entry")).alias("entries"))
    lists = ranked.select("view", *(F.col(f"entries.{name}").alias(name) for name in _RANKED))
    found = drawn.drop("own", "drawn_row", *_RANKED).join(lists, "view", how="inner").withColumn("drawn", F.lit(True))
    unlabelled = views.where("in_sample AND clicked IS NULL AND size(shown_row) > 0").withColumn("drawn", F.lit(False))
    return found.unionByName(unlabelled)


def _clicked_entries() -> Column:
    shown = F.transform(
        "shown_row",
        lambda row, at: _entry(row, F.get("shown_id", at), F.get("shown_age_hours", at), clicked=F.get("clicked", at)),
    )
    return F.filter(shown, lambda entry: entry["clicked"])


def _entry(row: Column, id: Column | None = None, age: Column | None = None, *, clicked: Column | bool) -> Column:
    nothing = F.lit(None)
    return F.struct(
        row.alias("row"),
        (nothing if id is None else id).cast("string").alias("id"),
        (nothing if age is None else age).cast("double").alias("age"),
        (F.lit(clicked) if isinstance(clicked, bool) else clicked).alias("clicked"),
    )
