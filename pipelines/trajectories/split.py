"""Split: which impressions train and which are evaluated, by time; nothing from later leaks back."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from pipelines.engine.expressions import bucket_of
from pipelines.histories import hash_of, with_history
from pipelines.trajectories.sampling import is_drawn

_BUCKETS = 1 << 16
_PLACE = 40  # bits of an impression's number below its bucket's
_OF_IMPRESSIONS = ("source", "impression_id", "user_id", "time", "also_seen_as", "shown", "clicked")
_COLUMNS = ("view", *_OF_IMPRESSIONS, "history", "evaluated", "new_user")


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """What decides it: impressions train before `end`, those from `begin` on with targets; later ones are evaluated.

    What lies between `end` and the evaluation does not exist.
    """

    evaluate_from: datetime  # the evaluation's first moment
    end: datetime  # at most that moment
    begin: datetime | None = None  # clicks of earlier impressions are context only
    idle_users: bool = True  # keep what users clicked who click nothing from `begin` on
    unlabelled: bool = False  # keep impressions without click marks in the evaluation
    sample: float = 1.0  # share of the evaluated ones that is kept, where the others count for nothing


def with_split(impressions: DataFrame, histories: DataFrame, split: Split) -> DataFrame:
    """Of a source's impressions those that train or are evaluated, with `evaluated`, `new_user`, a number (`view`): of
    their other columns those that the stage reads.

    `history` stands where it counts: in evaluated ones, and in a user's first before them.

    A user's impressions may disagree on the history: it grows by logged clicks, is cut to the last n, or re-ordered.
    What the log holds is counted from the log, so a user's sequence begins with the earliest history alone.
    What an impression without a click showed is no news of anyone's clicks, and is dropped from training; of those
    before `begin` what was clicked is kept alone, for without negatives a click is context only.
    """
    user = Window.partitionBy("_bucket", "source", "user_id")
    first = F.row_number().over(user.orderBy("time", "impression_id")) == 1
    judged, clicked = F.col("time") >= F.lit(split.evaluate_from), F.array_contains("clicked", True)
    recent = ~judged & (F.lit(True) if split.begin is None else F.col("time") >= F.lit(split.begin))
    kept = impressions.where(judged | (F.col("time") < F.lit(split.end)))
    kept = kept.where(F.col("clicked").isNotNull() | (judged if split.unlabelled else F.lit(False)))
    asked = kept.transform(_numbered).withColumns(
        {
            "evaluated": judged,
            "_told": judged | first,
            "new_user": ~F.max(recent).over(user),
            "_idle": ~F.max(recent & clicked).over(user),
        }
    )
    if not split.idle_users:
        asked = asked.where(judged | ~F.col("_idle"))
    if split.sample < 1:
        asked = asked.where(~judged | is_drawn(split.sample))
    told = (F.col("shown"), F.col("clicked"))
    alone = (F.filter("shown", lambda _, at: F.get("clicked", at)), F.filter("clicked", lambda mark: mark))
    shown, marks = (F.when(judged | recent, whole).otherwise(part) for whole, part in zip(told, alone, strict=True))
    nothing = F.array().cast("array<string>")  # the empty prefix: every user has it, and it costs nothing to find
    shortened = asked.withColumns(
        {
            "history_length": F.when(F.col("_told"), F.col("history_length")).otherwise(0),
            "history_hash": F.when(F.col("_told"), F.col("history_hash")).otherwise(hash_of(nothing)),
            "history_offset": F.when(F.col("_told"), F.col("history_offset")),
            "shown": F.when(judged | clicked, shown).otherwise(nothing),
            "clicked": F.when(judged | clicked, marks).otherwise(F.array().cast("array<boolean>")),
        }
    )
    return with_history(shortened, histories).select(*_COLUMNS)


def _numbered(impressions: DataFrame) -> DataFrame:
    """Adds `view`, a number of each impression that is the same wherever and however often it is computed.

    Users are dealt to buckets by hash, and impressions are counted in each: the count cannot repeat, as a hash could.
    The windows over users are parts of these, so that Spark shuffles once for all of them.
    """
    bucket = bucket_of("user_id", _BUCKETS).cast("long")
    dealt = impressions.withColumn("_bucket", bucket)
    place = F.row_number().over(Window.partitionBy("_bucket").orderBy("source", "user_id", "time", "impression_id"))
    return dealt.withColumn("view", F.shiftleft("_bucket", _PLACE) + place)
