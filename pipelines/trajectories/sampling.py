"""Sampling: which impressions of the evaluation are kept where not all are, and which users count as bots.

What is kept depends on each impression's own name and time alone: it is the same in every run, on every engine, and a
smaller share is part of a larger one.
"""

from __future__ import annotations

from functools import reduce
from operator import or_

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from pipelines.engine.expressions import fraction
from pipelines.engine.scratch import Keep
from pipelines.trajectories.config import TrajectoryConfig
from schemas.errors import InputError

_NAME = ("source", "impression_id")


def lot() -> Column:
    """The impression's lot, from 0 to below 1: no user's id is in it, which may be replaced by a hash."""
    return fraction(*_NAME, F.unix_micros("time"))


def is_drawn(share: float) -> Column:
    """Whether the impression is among that share of all; those without click marks always are, to be predicted."""
    return F.col("clicked").isNull() | (lot() < F.lit(share))


def thinned(known: DataFrame, config: TrajectoryConfig, keep: Keep) -> DataFrame:
    """The views of `known_views`, of which those remain `judged` that the config's share and its cap per user leave.

    Of a user's labelled impressions that can be ranked those with the smallest lots remain.
    """
    if config.evaluate_sample < 1:
        known = known.withColumn("judged", F.col("judged") & is_drawn(config.evaluate_sample))
    most = config.max_evaluated_per_user
    if most is None:
        return known
    ranks = F.size("click_row" if config.negatives == "drawn" else "shown_row") > 0
    lots = known.where(F.col("judged") & F.col("clicked").isNotNull() & ranks).select("view", "user_id", *_NAME, "time")
    user = Window.partitionBy("source", "user_id").orderBy(lot(), "impression_id", "time")
    first = lots.withColumn("_place", F.row_number().over(user)).where(F.col("_place") <= most)
    joined = known.join(first.select("view", F.lit(True).alias("_first")), "view", how="left")
    judged = F.col("judged") & (F.col("clicked").isNull() | F.coalesce("_first", F.lit(False)))
    return keep(joined.withColumn("judged", judged).drop("_first"))


def without_bots(impressions: DataFrame, config: TrajectoryConfig, keep: Keep) -> tuple[DataFrame, dict[str, int]]:
    """A source's impressions but for those of bots, and how many these are, where bots are left out.

    A bot is a user who on one UTC date, whichever, had more views or clicks than the config says.
    """
    most = {"views": config.bot_views_per_day, "clicks": config.bot_clicks_per_day}
    asked = {name: count for name, count in most.items() if count is not None}
    if not asked:
        return impressions, {}
    clicked = F.when(F.col("clicked").isNotNull(), F.size(F.filter("clicked", lambda mark: mark))).otherwise(0)
    days = impressions.groupBy("user_id", "date").agg(F.count("*").alias("views"), F.sum(clicked).alias("clicks"))
    bot = reduce(or_, (F.max(name) > count for name, count in asked.items()))
    users = keep(days.groupBy("user_id").agg(F.sum("views").alias("views"), bot.alias("bot")))
    counts = users.agg(F.count_if("bot").alias("users"), F.sum(F.when(F.col("bot"), F.col("views"))).alias("views"))
    found = counts.collect()[0]
    if found["users"] and users.where(~F.col("bot")).isEmpty():
        options = {"views": "--bot-views-per-day", "clicks": "--bot-clicks-per-day"}
        names = " and ".join(f"{options[name]} {count}" for name, count in asked.items())
        raise InputError(f"source {config.source!r}: by {names} all {found['users']} users are bots. Set a higher one")
    bots = users.where("bot").select("user_id")
    kept = impressions.join(bots, "user_id", how="left_anti").select(*impressions.columns)
    return kept, {"bot_users": found["users"], "bot_impressions": found["views"] or 0}
