"""Splits impressions by time into training and evaluation, so that no later information reaches training."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from pipelines.engine.expressions import bucket_of
from pipelines.histories import hash_of, with_history
from pipelines.trajectories.sampling import is_sampled

_BUCKETS = 1 << 16
_PLACE = 40  # bits of an impression's number below its bucket's
_OF_IMPRESSIONS = ("source", "impression_id", "user_id", "time", "also_seen_as", "shown", "clicked")
_COLUMNS = ("view", *_OF_IMPRESSIONS, "history", "evaluated", "new_user")


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """Impressions before `end` train, those from `begin` on with targets; those from `evaluate_from` on are evaluated.

    Impressions between `end` and `evaluate_from` are ignored.
    """

    evaluate_from: datetime  # the evaluation's first moment
    end: datetime  # at most that moment
    begin: datetime | None = None  # clicks of earlier impressions are context only
    idle_users: bool = True  # keep the clicks of users without a click from `begin` on
    unlabelled: bool = False  # keep impressions without click marks in the evaluation
    sample: float = 1.0  # share of the evaluated impressions to keep, if nothing else needs the others


def with_split(impressions: DataFrame, histories: DataFrame, split: Split) -> DataFrame:
    """A source's impressions that train or are evaluated, with `evaluated`, `new_user` and the number `view`, and those
    of their other columns that the stage reads.

    `history` is kept only where it counts: in evaluated impressions, and in a user's first impression before them.

    A user's impressions may disagree on the history: it grows by logged clicks, is cut to the last n, or re-ordered.
    Logged clicks are counted from the log, so a user's sequence begins with the earliest history only. Training drops
    the shown news of impressions without a click. Of impressions before `begin` only the clicked news are kept, because
    a click without negatives is context only.
    """
    user = Window.partitionBy("_bucket", "source", "user_id")
    first = F.row_number().over(user.orderBy("time", "impression_id")) == 1
    evaluated, clicked = F.col("time") >= F.lit(split.evaluate_from), F.array_contains("clicked", True)
    recent = ~evaluated & (F.lit(True) if split.begin is None else F.col("time") >= F.lit(split.begin))
    kept = impressions.where(evaluated | (F.col("time") < F.lit(split.end)))
    kept = kept.where(F.col("clicked").isNotNull() | (evaluated if split.unlabelled else F.lit(False)))
    marked = kept.transform(_with_view).withColumns(
        {
            "evaluated": evaluated,
            "_with_history": evaluated | first,
            "new_user": ~F.max(recent).over(user),
            "_idle": ~F.max(recent & clicked).over(user),
        }
    )
    if not split.idle_users:
        marked = marked.where(evaluated | ~F.col("_idle"))
    if split.sample < 1:
        marked = marked.where(~evaluated | is_sampled(split.sample))
    clicked_news, clicked_marks = (
        F.filter("shown", lambda _, at: F.get("clicked", at)),
        F.filter("clicked", lambda mark: mark),
    )
    shown = F.when(evaluated | recent, F.col("shown")).otherwise(clicked_news)
    marks = F.when(evaluated | recent, F.col("clicked")).otherwise(clicked_marks)
    nothing = F.array().cast("array<string>")  # the empty prefix: every user has it, and finding it is free
    shortened = marked.withColumns(
        {
            "history_length": F.when(F.col("_with_history"), F.col("history_length")).otherwise(0),
            "history_hash": F.when(F.col("_with_history"), F.col("history_hash")).otherwise(hash_of(nothing)),
            "history_offset": F.when(F.col("_with_history"), F.col("history_offset")),
            "shown": F.when(evaluated | clicked, shown).otherwise(nothing),
            "clicked": F.when(evaluated | clicked, marks).otherwise(F.array().cast("array<boolean>")),
        }
    )
    return with_history(shortened, histories).select(*_COLUMNS)


def _with_view(impressions: DataFrame) -> DataFrame:
    """Adds `view`, a unique number of each impression that every computation repeats.

    Users are divided into buckets by hash and impressions are numbered within each: unlike hashes, numbers cannot
    collide. The windows over users are parts of the buckets, so that Spark shuffles once for all of them.
    """
    bucket = bucket_of("user_id", _BUCKETS).cast("long")
    bucketed = impressions.withColumn("_bucket", bucket)
    place = F.row_number().over(Window.partitionBy("_bucket").orderBy("source", "user_id", "time", "impression_id"))
    return bucketed.withColumn("view", F.shiftleft("_bucket", _PLACE) + place)
