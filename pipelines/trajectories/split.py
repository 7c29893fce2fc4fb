"""Split: which labelled impressions train and which judge, by date; nothing from later leaks back."""

from __future__ import annotations

from datetime import date

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from pipelines.histories import hash_of, with_history
from schemas.errors import InputError


def labelled_of(impressions: DataFrame, source: str) -> DataFrame:
    """The source's impressions that carry click marks."""
    return impressions.where((F.col("source") == source) & F.col("clicked").isNotNull())


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


def with_split(labelled: DataFrame, histories: DataFrame, *, evaluate_from: date) -> DataFrame:
    """Adds `evaluated`, a number (`view`), and `history` where it counts: evaluated, or a user's first before them.

    A user's impressions may disagree on the history: it grows by logged clicks, is cut to the last n, or re-ordered.
    What the log holds is counted from the log, so a user's sequence begins with the earliest history alone.
    What an impression without a click showed is no news of anyone's clicks, and is dropped from training.
    """
    own = Window.partitionBy("source", "user_id").orderBy("time", "impression_id")
    judged, clicked = F.col("date") >= F.lit(evaluate_from), F.array_contains("clicked", True)
    asked = labelled.withColumns({"evaluated": judged, "_told": judged | (F.row_number().over(own) == 1)})
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
