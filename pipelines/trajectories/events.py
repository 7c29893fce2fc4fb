"""Puts a user's clicks in time order as events, each logged one with unclicked news of its own impression, and cuts
them into trajectories."""

from __future__ import annotations

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

_EVENTS = "array<struct<position:int,seen:int,row:int,candidate_row:array<int>,logged:boolean,time:timestamp>>"
_UPPER = -1 << 32  # the upper half of a long


def with_clicks(found: DataFrame) -> DataFrame:
    """Adds `click_row`, the clicked rows, and `negative_row`, the shown rows that equal no clicked row."""
    clicked = F.filter("shown_row", lambda _, at: F.get("clicked", at))
    unclicked = F.array_except("shown_row", "click_row")  # distinct, although texts repeat
    return found.withColumn("click_row", clicked).withColumn("negative_row", unclicked)


def with_events(views: DataFrame, *, candidates: int, seed: int) -> DataFrame:
    """Adds `events`: the view's history if it has one, then its clicks, with their positions in the user's sequence.

    A user's sequence is the history of the first impression, then the clicks by time, impression and order shown. Each
    event has the number of clicks that it may see (`seen`): those of impressions of earlier seconds. Pages of one
    second were shown before a click on either, and one view logged by two collectors stays two impressions if their
    lists differ: these never see each other's clicks.
    """
    user = Window.partitionBy("source", "user_id")
    earlier = user.orderBy("time", "impression_id").rowsBetween(Window.unboundedPreceding, -1)
    start = F.max(F.size("history_row")).over(user) + F.coalesce(F.sum(F.size("click_row")).over(earlier), F.lit(0))
    second = Window.partitionBy("source", "user_id", F.date_trunc("second", "time"))
    numbered = views.withColumn("_start", start.cast("int")).withColumn("_seen", F.min("_start").over(second))
    past = F.transform("history_row", lambda row, at: _event(at, at, row, _no_rows(), logged=False))
    clicks = F.transform(
        "click_row",
        lambda row, at: _event(
            F.col("_start") + at,
            F.col("_seen"),
            row,
            _sample_candidates(row, F.col("_start") + at, candidates, seed),
            logged=True,
        ),
    )
    return numbered.withColumn("events", F.concat(past.cast(_EVENTS), clicks.cast(_EVENTS))).drop("_seen")


def _event(position: Column, seen: Column, row: Column, candidate_row: Column, *, logged: bool) -> Column:
    return F.struct(
        position.alias("position"),
        seen.alias("seen"),
        row.alias("row"),
        candidate_row.alias("candidate_row"),
        F.lit(logged).alias("logged"),
        F.col("time"),
    )


def _sample_candidates(row: Column, position: Column, count: int, seed: int) -> Column:
    """The clicked row and up to `count` - 1 of the negatives, drawn by hash; empty without negatives."""
    drawn = F.sort_array(F.transform("negative_row", lambda other: _draw(position, other, seed)))
    others = F.transform(F.slice(drawn, 1, count - 1), lambda draw: draw.bitwiseAND(~_UPPER).cast("int"))
    return F.when(F.size(others) > 0, F.concat(F.array(row), others)).otherwise(_no_rows())


def _draw(position: Column, row: Column, seed: int) -> Column:
    """The sort key of a negative: a hash of (seed, position, news), without user id or row order. The lower half is the
    row."""
    return F.xxhash64(F.lit(seed).cast("long"), position, row).bitwiseAND(_UPPER) + row


def _no_rows() -> Column:
    return F.array().cast("array<int>")


def per_window(views: DataFrame, *, window: int) -> DataFrame:
    """(source, user, window, begin, events): each user's events in windows; window 0 is the latest."""
    ordered = F.sort_array(F.collect_list(F.struct("_start", "events")))  # views without events may share a start
    events = F.flatten(F.transform(ordered, lambda view: view["events"]))
    users = views.groupBy("user_id", "source").agg(events.alias("_all")).where("size(_all) > 0")
    total = F.size("_all")
    windows = users.withColumn("window", F.explode(F.sequence(F.lit(0), F.floor((total - 1) / window).cast("int"))))
    begin = F.greatest(total - (F.col("window") + 1) * window, F.lit(0))
    length = total - F.col("window") * window - F.col("begin")
    return windows.withColumn("begin", begin).select(
        "source", "user_id", "window", "begin", F.slice("_all", F.col("begin") + 1, length).alias("events")
    )


def with_arrays(windows: DataFrame, *, history_weight: float) -> DataFrame:
    """TRAJECTORIES rows of the windows with a target; windows without one teach nothing."""
    targets = F.filter("events", lambda event: F.size(event["candidate_row"]) > 0)
    return windows.select(
        "source",
        "user_id",
        "window",
        F.array_max(F.transform(targets, lambda event: event["time"])).alias("time"),
        F.col("events.row").alias("click_row"),
        F.transform("events", lambda event: F.greatest(event["seen"] - F.col("begin"), F.lit(0))).alias("prefix"),
        F.col("events.candidate_row").alias("candidate_row"),
        F.transform(
            "events",
            lambda event: (
                F.when(F.size(event["candidate_row"]) == 0, 0.0)
                .when(event["logged"], 1.0)
                .otherwise(history_weight)
                .cast("float")
            ),
        ).alias("weight"),
        F.col("events.logged").alias("logged"),
    ).where("time IS NOT NULL")
