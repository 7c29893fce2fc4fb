"""Candidates: a user's clicks in time order; beside each logged one, news that its own impression showed in vain."""

from __future__ import annotations

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

_EVENTS = "array<struct<position:int,seen:int,row:int,candidate_row:array<int>,logged:boolean,time:timestamp>>"
_UPPER = -1 << 32  # the upper half of a long


def with_clicks(found: DataFrame) -> DataFrame:
    """Adds `click_row` and `negative_row`: shown news that were clicked, and those that none of the clicks equals."""
    clicked = F.filter("shown_row", lambda _, at: F.get("clicked", at))
    unclicked = F.array_except("shown_row", "click_row")  # each once, though texts repeat
    return found.withColumn("click_row", clicked).withColumn("negative_row", unclicked)


def with_events(views: DataFrame, *, candidates: int, seed: int) -> DataFrame:
    """Adds `events`: the view's clicks with their place in the user's sequence, after the history if it holds one.

    A user's sequence is the history of the first impression, then the clicks by time, impression and order shown.
    Each event knows how many clicks it may see (`seen`): those of impressions of earlier seconds. Pages of one second
    were shown before a click in either, and two collectors' tellings of one view stay two impressions where their
    lists differ: they never see each other's clicks.
    """
    user = Window.partitionBy("source", "user_id")
    earlier = user.orderBy("time", "impression_id").rowsBetween(Window.unboundedPreceding, -1)
    start = F.max(F.size("history_row")).over(user) + F.coalesce(F.sum(F.size("click_row")).over(earlier), F.lit(0))
    second = Window.partitionBy("source", "user_id", F.date_trunc("second", "time"))
    numbered = views.withColumn("_start", start.cast("int")).withColumn("_seen", F.min("_start").over(second))
    told = F.transform("history_row", lambda row, at: _event(at, at, row, _nothing(), logged=False))
    made = F.transform(
        "click_row",
        lambda row, at: _event(
            F.col("_start") + at,
            F.col("_seen"),
            row,
            _shown_beside(row, F.col("_start") + at, candidates, seed),
            logged=True,
        ),
    )
    return numbered.withColumn("events", F.concat(told.cast(_EVENTS), made.cast(_EVENTS))).drop("_seen")


def _event(position: Column, seen: Column, row: Column, candidate_row: Column, *, logged: bool) -> Column:
    return F.struct(
        position.alias("position"),
        seen.alias("seen"),
        row.alias("row"),
        candidate_row.alias("candidate_row"),
        F.lit(logged).alias("logged"),
        F.col("time"),
    )


def _shown_beside(row: Column, position: Column, count: int, seed: int) -> Column:
    """The clicked row, then up to `count` - 1 of the negatives, drawn by hash; nothing if there is none."""
    drawn = F.sort_array(F.transform("negative_row", lambda other: _draw(position, other, seed)))
    others = F.transform(F.slice(drawn, 1, count - 1), lambda draw: draw.bitwiseAND(~_UPPER).cast("int"))
    return F.when(F.size(others) > 0, F.concat(F.array(row), others)).otherwise(_nothing())


def _draw(position: Column, row: Column, seed: int) -> Column:
    """Orders negatives by hash of (seed, position, news): no user id, no row order. Its lower half is the row."""
    return F.xxhash64(F.lit(seed).cast("long"), position, row).bitwiseAND(_UPPER) + row


def _nothing() -> Column:
    return F.array().cast("array<int>")
