"""Split: which labelled impressions train and which judge, by date; nothing from later leaks back."""

from __future__ import annotations

from datetime import date

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from pipelines.histories import with_history
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
    """Adds `evaluated`, and `history` where it counts: of evaluated impressions and of each user's first before them.

    Later histories repeat clicks that the log holds, so a user's sequence begins with the earliest one alone.
    What an impression without a click showed is no news of anyone's clicks, and is dropped from training.
    """
    own = Window.partitionBy("source", "user_id", "evaluated").orderBy("time", "impression_id")
    told = with_history(labelled, histories).withColumn("evaluated", F.col("date") >= F.lit(evaluate_from))
    first = F.row_number().over(own) == 1
    nothing = F.array()
    judged, clicked = F.col("evaluated"), F.array_contains("clicked", True)
    return told.withColumns(
        {
            "history": F.when(judged | first, F.col("history")).otherwise(nothing),
            "shown": F.when(judged | clicked, F.col("shown")).otherwise(nothing),
            "clicked": F.when(judged | clicked, F.col("clicked")).otherwise(nothing),
        }
    )
