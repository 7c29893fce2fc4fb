"""Candidates: per logged click, the clicked news and news that its own impression showed in vain."""

from __future__ import annotations

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from pipelines.trajectories.resolve import HISTORY, SHOWN, found_in


def with_clicks(found: DataFrame) -> DataFrame:
    """Adds `clicks` and `negatives`: shown news that were clicked, and those that none of the clicks equals in text."""
    shown = found.withColumn("_shown", found_in(SHOWN))
    clicked = shown.withColumn("clicks", F.filter("_shown", lambda news: news["clicked"]))
    rows = F.transform("clicks", lambda news: news["canonical_row"])
    unclicked = F.filter("_shown", lambda news: ~news["clicked"] & ~F.array_contains(rows, news["canonical_row"]))
    return clicked.withColumn("negatives", unclicked).drop("_shown")


def with_events(views: DataFrame, *, candidates: int, seed: int) -> DataFrame:
    """Adds `events`: the view's clicks with their place in the user's sequence, after the history if it holds one.

    A user's sequence is the history of the first impression, then the clicks by time, impression and order shown.
    Each event knows how many clicks it may see (`seen`): those of impressions of earlier seconds.
    """
    user = Window.partitionBy("source", "user_id")
    earlier = user.orderBy("time", "impression_id").rowsBetween(Window.unboundedPreceding, -1)
    history = found_in(HISTORY)  # of the user's first impression; empty in the others
    start = F.max(F.size(history)).over(user) + F.coalesce(F.sum(F.size("clicks")).over(earlier), F.lit(0))
    past = F.transform(history, lambda news, at: _event(at, at, news, _nothing(), logged=False))
    # Two collectors may log one view under two ids: impressions of one second never see each other's clicks.
    second = Window.partitionBy("source", "user_id", "time")
    numbered = views.withColumn("_start", start.cast("int")).withColumn("_seen", F.min("_start").over(second))
    made = F.transform(
        "clicks",
        lambda news, at: _event(
            F.col("_start") + at,
            F.col("_seen"),
            news,
            _candidates(F.col("_start") + at, news, candidates, seed),
            logged=True,
        ),
    )
    return numbered.withColumn("events", F.concat(past, made)).drop("_start", "_seen")


def _event(position: Column, seen: Column, news: Column, candidate_row: Column, *, logged: bool) -> Column:
    return F.struct(
        position.alias("position"),
        seen.alias("seen"),
        news["canonical_row"].alias("row"),
        candidate_row.alias("candidate_row"),
        F.lit(logged).alias("logged"),
        F.when(F.lit(logged), F.col("time")).alias("time"),
    )


def _candidates(position: Column, clicked: Column, count: int, seed: int) -> Column:
    """The clicked row, then up to `count` - 1 others, drawn by hash; nothing if there is no other."""
    drawn = F.array_sort(F.transform("negatives", lambda news: _draw(position, news, seed)))
    rows = F.slice(F.array_distinct(F.transform(drawn, lambda draw: draw["row"])), 1, count - 1)
    return F.when(F.size(rows) > 0, F.concat(F.array(clicked["canonical_row"]), rows)).otherwise(_nothing())


def _draw(position: Column, news: Column, seed: int) -> Column:
    """Orders negatives by hash of (seed, position, news): no user id, no row order. Equal hashes: the smaller row."""
    hashed = F.xxhash64(F.lit(seed).cast("long"), position, news["item_row"])
    return F.struct(hashed.alias("hash"), news["item_row"].alias("item"), news["canonical_row"].alias("row"))


def _nothing() -> Column:
    return F.array().cast("array<int>")
