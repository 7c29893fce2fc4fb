"""Split: which impressions train and which are evaluated, by time; nothing from later leaks back."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from pipelines.histories import hash_of, with_history


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


def with_split(impressions: DataFrame, histories: DataFrame, split: Split) -> DataFrame:
    """Of a source's impressions those that train or are evaluated, with `evaluated`, `new_user`, a number (`view`).

    `history` stands where it counts: in evaluated ones, and in a user's first before them.

    A user's impressions may disagree on the history: it grows by logged clicks, is cut to the last n, or re-ordered.
    What the log holds is counted from the log, so a user's sequence begins with the earliest history alone.
    What an impression without a click showed is no news of anyone's clicks, and is dropped from training; of those
    before `begin` what was clicked is kept alone, for without negatives a click is context only.
    """
    user = Window.partitionBy("source", "user_id")
    first = F.row_number().over(user.orderBy("time", "impression_id")) == 1
    judged, clicked = F.col("time") >= F.lit(split.evaluate_from), F.array_contains("clicked", True)
    recent = ~judged & (F.lit(True) if split.begin is None else F.col("time") >= F.lit(split.begin))
    kept = impressions.where(judged | (F.col("time") < F.lit(split.end)))
    kept = kept.where(F.col("clicked").isNotNull() | (judged if split.unlabelled else F.lit(False)))
    asked = kept.withColumns(
        {
            "evaluated": judged,
            "_told": judged | first,
            "new_user": ~F.max(recent).over(user),
            "_idle": ~F.max(recent & clicked).over(user),
        }
    )
    if not split.idle_users:
        asked = asked.where(judged | ~F.col("_idle"))
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
            "clicked": F.when(judged | clicked, marks).otherwise(F.array()),
        }
    )
    return with_history(shortened, histories).drop("_told", "_idle").withColumn("view", F.monotonically_increasing_id())
