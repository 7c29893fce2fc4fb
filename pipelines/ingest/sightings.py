"""Third step of ingest: judged lines -> sightings, one for each user, id, time and set of news that lines tell of.

A sighting unites what its lines say, in whatever order they came: the same line delivered again adds only to `lines`
(rule 1 of DESIGN §3). Lists of ids travel as one text with blanks between, for no id holds a blank: a third of the
bytes.
"""

from __future__ import annotations

from collections.abc import Sequence

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from pipelines.histories import hash_of

SIGHTING = ("user_id", "impression_id", "time", "shown_hash")
_BUCKETS = 16  # users of a date are spread over as many tasks at most: each task writes files of few dates


def per_sighting(judged: DataFrame, extra: Sequence[str] = ()) -> DataFrame:
    """One row per sighting, and one per refused line (`reason`, `refused`; the rest null).

    Columns: SIGHTING; `shown` the list as text, in id order where lines disagree on it; `tellings` distinct (marks,
    history) as texts; `history` (length, hash) of the longest; `lines`; `repeated` lines that showed a news twice;
    the greatest of each `extra` column.
    """
    usable = F.col("reason").isNull()
    told = {
        "user_id": F.col("user_id"),
        "impression_id": F.col("impression_id"),
        "time": F.col("time"),
        "date": F.to_date("time"),
        "shown_hash": F.xxhash64(text_of(F.array_sort("shown"))),
        "shown": text_of(F.col("shown")),
        "telling": F.struct(text_of(F.col("clicked_ids")).alias("clicked"), text_of(F.col("history")).alias("history")),
        "longest": F.struct(F.size("history").alias("length"), hash_of(F.col("history")).alias("hash")),
    }
    lines = judged.select(
        "reason",
        F.when(~usable, F.struct("file", "position", "line")).alias("refused"),
        F.pmod(F.xxhash64(F.coalesce(F.col("user_id"), F.lit("")), "time"), F.lit(_BUCKETS)).alias("bucket"),
        *(F.when(usable, value).alias(name) for name, value in told.items()),
        (usable & F.col("repeated_news")).cast("int").alias("repeated"),
        *extra,
    )
    lists = F.min("shown") == F.max("shown")
    return (
        lines.repartition("date", "bucket")
        .groupBy("date", "bucket", *SIGHTING, "reason", "refused")
        .agg(
            F.when(lists, F.min("shown")).otherwise(text_of(F.array_sort(ids_of(F.min("shown"))))).alias("shown"),
            F.collect_set("telling").alias("tellings"),
            F.max("longest").alias("history"),
            F.count("*").alias("lines"),
            F.sum("repeated").alias("repeated"),
            *(F.max(name).alias(name) for name in extra),
        )
        .drop("bucket")
    )


def usable(sightings: DataFrame) -> DataFrame:
    """The sightings alone."""
    return sightings.where(F.col("reason").isNull()).drop("reason", "refused")


def refused(sightings: DataFrame) -> DataFrame:
    """REJECTS rows of the lines that hold none: file, position, line as text, reason."""
    line = F.make_valid_utf8(F.col("refused.line").cast("string")).alias("line")
    return sightings.where(F.col("reason").isNotNull()).select("refused.file", "refused.position", line, "reason")


def text_of(ids: Column) -> Column:
    """A list of ids as one text; null stays null."""
    return F.array_join(ids, " ")


def ids_of(text: Column) -> Column:
    """The list that `text_of` wrote."""
    return F.when(text == "", F.array().cast("array<string>")).otherwise(F.split(text, " "))


def second_of(time: Column) -> Column:
    """The second in which a view was logged: two collectors need not agree on its fractions."""
    return F.date_trunc("second", time)


def link_keys(sighting: dict[str, Column]) -> Column:
    """Two sightings can only be linked, by rule 2 or rule 3, if they share one of these two hashes."""
    by_id = F.xxhash64(F.lit(2), sighting["user_id"], sighting["impression_id"])
    by_view = F.xxhash64(F.lit(3), sighting["user_id"], second_of(sighting["time"]), sighting["shown_hash"])
    return F.array(by_id, by_view)
