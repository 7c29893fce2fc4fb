"""Split: which impressions train and which are evaluated, by date; nothing from later leaks back."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from pipelines.histories import hash_of, with_history
from schemas.errors import InputError


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """What decides it."""

    evaluate_from: date  # the first UTC date of the evaluation
    unlabelled: bool = False  # whether impressions without click marks are kept there


def labelled_of(impressions: DataFrame) -> DataFrame:
    """Those that carry click marks."""
    return impressions.where(F.col("clicked").isNotNull())


def split_date(labelled: DataFrame, *, asked: str | None, source: str) -> date:
    """The first UTC date that judges: the one asked for, or the last that has labelled impressions."""
    if asked is not None:
        try:
            return date.fromisoformat(asked)
        except ValueError as error:
            raise InputError(f"evaluate_from is {asked!r}: write a UTC date such as 2019-11-13") from error
    last: date | None = labelled.agg(F.max("date").alias("last")).collect()[0]["last"]
    if last is None:
        raise InputError(
            f"source {source!r}: no impression has click marks, so there is nothing to learn from. "
            "Ingest logs with clicks, or name another --source"
        )
    return last


def with_split(impressions: DataFrame, histories: DataFrame, split: Split) -> DataFrame:
    """Of a source's impressions those that train or are evaluated, with `evaluated`, `new_user`, a number (`view`).

    `history` stands where it counts: in evaluated ones, and in a user's first before them.

    A user's impressions may disagree on the history: it grows by logged clicks, is cut to the last n, or re-ordered.
    What the log holds is counted from the log, so a user's sequence begins with the earliest history alone.
    What an impression without a click showed is no news of anyone's clicks, and is dropped from training.
    """
    user = Window.partitionBy("source", "user_id")
    first = F.row_number().over(user.orderBy("time", "impression_id")) == 1
    judged, clicked = F.col("date") >= F.lit(split.evaluate_from), F.array_contains("clicked", True)
    kept = impressions.where(F.col("clicked").isNotNull() | (judged if split.unlabelled else F.lit(False)))
    asked = kept.withColumns({"evaluated": judged, "_told": judged | first, "new_user": ~F.max(~judged).over(user)})
    nothing = F.array().cast("array<string>")  # the empty prefix: every user has it, and it costs nothing to find
    shortened = asked.withColumns(
        {
            "history_length": F.when(F.col("_told"), F.col("history_length")).otherwise(0),
            "history_hash": F.when(F.col("_told"), F.col("history_hash")).otherwise(hash_of(nothing)),
            "shown": F.when(judged | clicked, F.col("shown")).otherwise(nothing),
            "clicked": F.when(judged | clicked, F.col("clicked")).otherwise(F.array()),
        }
    )
    return with_history(shortened, histories).drop("_told").withColumn("view", F.monotonically_increasing_id())
