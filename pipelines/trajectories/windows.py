"""Cuts a user's events from the end into trajectories of at most L clicks."""

from __future__ import annotations

from pyspark.sql import DataFrame
from pyspark.sql import functions as F


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
