"""Windows: a user's events -> trajectories of at most L clicks, cut from the end."""

from __future__ import annotations

from pyspark.sql import DataFrame
from pyspark.sql import functions as F


def per_window(views: DataFrame, *, window: int) -> DataFrame:
    """One TRAJECTORIES row per window that holds a target; window 0 is the user's latest."""
    users = views.groupBy("source", "user_id").agg(F.sort_array(F.flatten(F.collect_list("events"))).alias("all"))
    windows = users.withColumn("window", F.explode(F.sequence(F.lit(0), F.floor((F.size("all") - 1) / window))))
    total = F.size("all")
    begin = F.greatest(total - (F.col("window") + 1) * window, F.lit(0)).cast("int")
    length = (total - F.col("window") * window).cast("int") - begin
    cut = (
        windows.where("size(all) > 0")
        .withColumn("begin", begin)
        .withColumn("events", F.slice("all", begin + 1, length))
    )
    targets = F.filter("events", lambda event: F.size(event["candidate_row"]) > 0)
    return (
        cut.withColumn("time", F.array_max(F.transform(targets, lambda event: event["time"])))
        .select(
            "source",
            "user_id",
            "window",
            "time",
            F.transform("events", lambda event: event["row"]).alias("click_row"),
            F.transform("events", lambda event: F.greatest(event["seen"] - F.col("begin"), F.lit(0))).alias("prefix"),
            F.transform("events", lambda event: event["candidate_row"]).alias("candidate_row"),
            F.transform("events", lambda event: (F.size(event["candidate_row"]) > 0).cast("float")).alias("weight"),
            F.transform("events", lambda event: event["logged"]).alias("logged"),
        )
        .where("time IS NOT NULL")
    )  # no target, nothing to learn
