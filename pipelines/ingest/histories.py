"""Sixth step of ingest: each user's histories, stored once; one that is a prefix of another is not stored.

Histories of one user that disagree (cut to the last clicks, re-ordered, corrected) are sequences of their own, so every
impression gets back exactly the history that its log told.
"""

from __future__ import annotations

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from pipelines.histories import hash_of
from pipelines.ingest.sightings import ids_of, text_of
from pipelines.merging import OLD


def told_histories(sightings: DataFrame) -> DataFrame:
    """Distinct (user_id, text) of all histories that the sightings' lines told."""
    return sightings.select("user_id", F.explode(F.array_distinct("tellings.history")).alias("text")).distinct()


def history_changes(told: DataFrame, stored: DataFrame | None) -> DataFrame:
    """HISTORIES rows (but for `source`) to write; `old`: key of the stored row that becomes this one, null = none does.

    `told` has (user_id, text), `stored` is HISTORIES of one source. A stored one that a longer one begins with becomes
    the first such one; it is the only one that does, for of two stored ones none begins with the other.
    """
    every = told.withColumn("_stored", F.lit(False))
    if stored is not None:
        touched = stored.join(told.select("user_id").distinct(), "user_id", how="left_semi")
        kept = touched.select("user_id", text_of(F.col("clicks")).alias("text"), F.lit(True).alias("_stored"))
        every = every.unionByName(kept).groupBy("user_id", "text").agg(F.max("_stored").alias("_stored"))
    judged = every.transform(with_maximal)
    landmark = F.when(F.col("maximal") | F.col("_stored"), F.struct("text", "maximal"))
    preceding = Window.partitionBy("user_id").orderBy("_ended").rowsBetween(Window.unboundedPreceding, -1)
    judged = judged.withColumn("_before", F.last(landmark, ignorenulls=True).over(preceding))
    key = F.struct("user_id", hash_of(ids_of(F.col("_before.text"))).alias("sequence_hash"))
    changes = judged.where("maximal AND NOT _stored").withColumn(OLD, F.when(~F.col("_before.maximal"), key))
    clicks = changes.withColumn("clicks", ids_of(F.col("text")))
    return clicks.select("user_id", hash_of(F.col("clicks")).alias("sequence_hash"), "clicks", OLD)


def with_maximal(histories: DataFrame) -> DataFrame:
    """Distinct (user_id, text) plus `maximal`: no other history of the user begins with this one; and `_ended`.

    A blank is less than all that an id can hold. So, sorted with a blank at their ends, all that begin with one follow
    it at once: looking at the next row is enough.
    """
    ended = F.when(F.col("text") == "", "").otherwise(F.concat("text", F.lit(" ")))
    following = F.lead("_ended").over(Window.partitionBy("user_id").orderBy("_ended"))
    begins = F.startswith(following, F.col("_ended"))
    return histories.withColumn("_ended", ended).withColumn("maximal", ~F.coalesce(begins, F.lit(False)))
