"""Samples the impressions of the evaluation, and drops users that count as bots.

The sample depends only on each impression's id and time: it is the same in every run and on every engine, and a smaller
share is part of a larger one.
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

_KEY = ("source", "impression_id")


def random_fraction() -> Column:
    """A hash of the impression from 0 to below 1, without the user's id, which may be replaced by a hash."""
    return fraction(*_KEY, F.unix_micros("time"))


def is_sampled(share: float) -> Column:
    """Whether the impression is in a sample of that share; always true without click marks, which are to predict."""
    return F.col("clicked").isNull() | (random_fraction() < F.lit(share))


def sample_evaluation(known: DataFrame, config: TrajectoryConfig, keep: Keep) -> DataFrame:
    """The views of `known_views`, with `in_sample` reduced to the config's share and its cap per user.

    The cap keeps those of a user's rankable labelled impressions with the smallest random fractions.
    """
    if config.evaluate_sample < 1:
        known = known.withColumn("in_sample", F.col("in_sample") & is_sampled(config.evaluate_sample))
    most = config.max_evaluated_per_user
    if most is None:
        return known
    ranks = F.size("click_row" if config.negatives == "drawn" else "shown_row") > 0
    rankable = known.where(F.col("in_sample") & F.col("clicked").isNotNull() & ranks)
    user = Window.partitionBy("source", "user_id").orderBy(random_fraction(), "impression_id", "time")
    numbered = rankable.select("view", "user_id", *_KEY, "time").withColumn("_place", F.row_number().over(user))
    first = numbered.where(F.col("_place") <= most)
    joined = known.join(first.select("view", F.lit(True).alias("_first")), "view", how="left")
    in_sample = F.col("in_sample") & (F.col("clicked").isNull() | F.coalesce("_first", F.lit(False)))
    return keep(joined.withColumn("in_sample", in_sample).drop("_first"))


def without_bots(impressions: DataFrame, config: TrajectoryConfig, keep: Keep) -> tuple[DataFrame, dict[str, int]]:
    """A source's impressions without those of bots, and the counts of bots and their impressions if a limit is set.

    A bot is a user with more views or clicks on any UTC date than the config allows.
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
        raise InputError(f"source {config.source!r}: with {names} all {found['users']} users are bots. Set it higher")
    bots = users.where("bot").select("user_id")
    kept = impressions.join(bots, "user_id", how="left_anti").select(*impressions.columns)
    return kept, {"bot_users": found["users"], "bot_impressions": found["views"] or 0}
