"""Histories, stored once per user by ingest and given back to each impression by the stages after it."""

from __future__ import annotations

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F


def hash_of(clicks: Column) -> Column:
    """The hash under which impressions name their history and HISTORIES its sequences."""
    return F.xxhash64(clicks)


def with_history(impressions: DataFrame, histories: DataFrame) -> DataFrame:
    """Impressions plus `history`, exactly as the log gave it; fails where HISTORIES does not hold it."""
    per_user = histories.groupBy("source", "user_id").agg(F.collect_list("clicks").alias("_sequences"))
    length, wanted = F.col("history_length"), F.col("history_hash")
    fitting = F.filter("_sequences", lambda clicks: hash_of(F.slice(clicks, 1, length)) == wanted)
    told = F.concat_ws(" ", "source", "impression_id", "user_id")
    lost = F.raise_error(F.concat(F.lit("table histories lacks the history of impression "), told))
    return (
        impressions.join(per_user, ["source", "user_id"], how="left")
        .withColumn("history", F.coalesce(F.slice(F.get(fitting, F.lit(0)), 1, length), lost))
        .drop("_sequences")
    )
