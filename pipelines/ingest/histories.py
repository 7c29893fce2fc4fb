"""Fourth step of ingest: each user's histories, stored once; one that is a prefix of another is not stored."""

from __future__ import annotations

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from pipelines.histories import hash_of

GONE = "gone"  # the column that marks rows which MERGE must delete


def history_changes(told: DataFrame, stored: DataFrame | None) -> DataFrame:
    """HISTORIES rows to insert, and those to delete (`gone`) because a longer history now begins with them."""
    told = told.select("source", "user_id", F.col("history").alias("clicks"), F.lit(False).alias("_stored"))
    if stored is not None:
        users = told.select("source", "user_id").distinct()
        touched = stored.join(users, ["source", "user_id"], how="left_semi").withColumn("_stored", F.lit(True))
        told = told.unionByName(touched.select(told.columns))
    return (
        told.groupBy("source", "user_id", "clicks")
        .agg(F.max("_stored").alias("_stored"))
        .transform(with_maximal)
        .where("maximal != _stored")  # a maximal one that is stored stays, a prefix that is not stored never was
        .select(
            "source",
            "user_id",
            hash_of(F.col("clicks")).alias("sequence_hash"),
            "clicks",
            F.col("_stored").alias(GONE),
        )
    )


def with_maximal(histories: DataFrame) -> DataFrame:
    """Distinct (source, user_id, clicks) plus `maximal`: no other history of the user begins with this one.

    Sorted as arrays, all histories that begin with one follow it at once: looking at the next row is enough.
    """
    by_user = Window.partitionBy("source", "user_id").orderBy("clicks")
    following = F.lead("clicks").over(by_user)
    begins = F.slice(following, 1, F.size("clicks")) == F.col("clicks")
    return histories.withColumn("maximal", ~F.coalesce(begins, F.lit(False)))
