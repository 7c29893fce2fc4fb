"""What a line of MIND's behaviors.tsv tells: columns parted by tabs, ids by blanks, -0 and -1 as click marks."""

from __future__ import annotations

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from pipelines.ingest.marks import all_marked, clicked_by_suffix, without_suffixes
from pipelines.ingest.scan import MIND_COLUMNS

_TIME = "M/d/yyyy h:mm:ss a"
_TIME_SHAPE = r"^\d{1,2}/\d{1,2}/\d{4} \d{1,2}:\d{2}:\d{2} [AP]M$"
_PLAIN = r"^[\t !-Z\]-z|}~]*\z"  # printable ASCII but for backslashes and brackets, and what parts ids


def with_mind_fields(lines: DataFrame) -> DataFrame:
    """The fields of each line's `_text`; `_malformed`: why it has none; `_bad_mark`; `_plain`: its ids are fine."""
    columns = lines.withColumn("_columns", F.split("_text", "\t", -1))
    impression_id, user_id, time, history, shown = (F.trim(F.get("_columns", F.lit(i))) for i in range(MIND_COLUMNS))
    tokens = columns.select(
        *lines.columns,
        F.when(F.size("_columns") != MIND_COLUMNS, "wrong_column_count").alias("_malformed"),
        impression_id.alias("impression_id"),
        user_id.alias("user_id"),
        time.alias("_time_text"),
        _parted(history).alias("history"),
        _parted(shown).alias("_tokens"),
    )
    told = tokens.withColumn("_labelled", all_marked(F.col("_tokens")))
    unlabelled = ~F.exists("_tokens", lambda token: token.contains("-"))  # no id of MIND has a hyphen
    clicked, ids = clicked_by_suffix(F.col("_tokens")), without_suffixes(F.col("_tokens"))
    time_told = F.when(F.col("_time_text").rlike(_TIME_SHAPE), F.try_to_timestamp("_time_text", F.lit(_TIME)))
    return told.select(
        *lines.columns,
        *("_malformed", "impression_id", "user_id", "_time_text", "history"),
        time_told.alias("time"),
        F.when(F.col("_labelled"), ids).otherwise(F.col("_tokens")).alias("shown"),
        F.when(F.col("_labelled"), clicked).alias("clicked_ids"),
        (~F.col("_labelled") & ~unlabelled).alias("_bad_mark"),
        _plain().alias("_plain"),
    )


def _plain() -> Column:
    """Whether all ids are certainly fine, but for their length: one pattern over the line, not one for each id."""
    plain = F.col("_text").rlike(_PLAIN)
    for id in ("impression_id", "user_id"):
        plain = plain & (F.col(id) != "") & ~F.contains(id, F.lit(" "))
    return plain & ~F.array_contains("_tokens", "-0") & ~F.array_contains("_tokens", "-1")  # a mark, and no id


def _parted(text: Column) -> Column:
    single = F.when(text.contains("  "), F.regexp_replace(text, " +", " ")).otherwise(text)
    return F.when(text == "", F.array().cast("array<string>")).otherwise(F.split(single, " "))
