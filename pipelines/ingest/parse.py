"""Second step of ingest: RAW_LOG lines -> what each tells, or the reason why it is refused.

The reasons, in the order in which they are tried (one line has one reason):

- `too_long`: more than 1 MiB
- `not_utf8`: the bytes are no UTF-8
- `not_json`: a JSON line that is not exactly one whole object (cut off, two records glued together, blank)
- `duplicate_field`: a JSON object that has a field which we read twice
- `wrong_column_count`: a MIND line without exactly five tab-separated columns
- `missing_field`: impression id, user id, time, history or shown is absent, null or of a wrong type, an id is empty,
  or a list holds something that is no id. An empty history is fine, and numbers are read as ids. A log without columns
  of impression ids or shown news has them implied (`implied.py`); a click without its news lacks what it shows
- `bad_id`: an id with a backslash, a control character or white space, or of more than 256 bytes
- `bad_time`: no time of the format, before the run's earliest time (1990), or more than a day after the line arrived
- `nothing_shown`: the list of shown news is empty
- `bad_click_mark`: click marks on some shown news only, a mark other than 0 or 1, or `clicked` is no list of ids
- `clicked_not_shown`: a clicked news is not among those shown

A news shown twice in one impression is one candidate, at its first place, clicked if either was (DESIGN §3, rule 4).
"""

from __future__ import annotations

from datetime import date

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from pipelines.ingest.ids import bad_ids, no_clicked_ids, no_ids, null_or_long_ids
from pipelines.ingest.implied import with_implied
from pipelines.ingest.json_fields import with_json_fields
from pipelines.ingest.mapping import LogMapping, mapping_of
from pipelines.ingest.mind_fields import with_mind_fields
from schemas.raw_log import RAW_LOG, WITHHELD

LONGEST_LINE_BYTES = 1 << 20
TOLD = ("impression_id", "user_id", "time", "history", "shown", "clicked_ids")
EARLIEST = date(1990, 1, 1)  # a time before it is a clock that was never set, or a unit that is wrong


def with_told(raw: DataFrame, format: str, earliest: date = EARLIEST) -> DataFrame:
    """RAW_LOG rows plus what each line tells: TOLD (`clicked_ids` null = unlabelled), `repeated_news` (a news was shown
    twice), the mapping's extra columns, and `reason`, null if usable. The rows are of one format, or withheld.
    """
    judged = with_all_told(raw, format, earliest)
    once = F.array_distinct("shown")
    others = [name for name in judged.columns if name not in (*raw.columns, *TOLD, "reason")]
    told = [once.alias("shown") if name == "shown" else F.col(name) for name in TOLD]
    repeated = (F.size("shown") > F.size(once)).alias("repeated_news")
    return judged.select(*raw.columns, *told, repeated, *others, "reason")


def with_all_told(raw: DataFrame, format: str, earliest: date = EARLIEST) -> DataFrame:
    """As `with_told`, but `shown` as it was told: with the news that stand there twice."""
    fault = (
        F.when(F.col("format") == WITHHELD, F.get_json_object(F.col("line").cast("string"), "$.reason"))
        .when(F.octet_length("line") > LONGEST_LINE_BYTES, "too_long")
        .when(~F.is_valid_utf8(F.col("line").cast("string")), "not_utf8")
    )
    lines = raw.withColumn("_fault", fault)
    lines = lines.withColumn("_text", F.when(F.col("_fault").isNull(), F.col("line").cast("string")))
    fields = with_mind_fields(lines) if format == "mind" else _of_json(lines, mapping_of(format))
    close = ~F.coalesce("_plain", F.lit(False)) | null_or_long_ids()
    extra = () if format == "mind" else tuple(mapping_of(format).extra)
    judged = fields.withColumn("_close", close).withColumn("reason", _reason(earliest))
    return judged.select(*raw.columns, *TOLD, *extra, "reason")


def _of_json(lines: DataFrame, mapping: LogMapping) -> DataFrame:
    return with_json_fields(lines, mapping).transform(with_implied, mapping)


def keep_told(judged: DataFrame) -> DataFrame:
    """The usable lines: where each came from and what it tells, extra columns included."""
    known = {*RAW_LOG.column_names, *TOLD, "reason"}
    extra = [name for name in judged.columns if name not in known]
    return judged.where(F.col("reason").isNull()).select("source", "batch", *TOLD, *extra)


def keep_rejects(judged: DataFrame) -> DataFrame:
    """REJECTS rows of the refused lines."""
    line = F.make_valid_utf8(F.col("line").cast("string"))
    return judged.where(F.col("reason").isNotNull()).withColumn("line", line)


def _reason(earliest: date) -> Column:
    """The first rule that the line breaks, null if none. A comparison with null decides nothing, hence the coalesce."""
    absent = F.col("_time_text").isNull() | (F.trim("_time_text") == "")
    nulls = [F.col(name).isNull() for name in ("impression_id", "user_id", "history", "shown")]
    missing = nulls[0] | nulls[1] | nulls[2] | nulls[3] | absent
    close = F.col("_close")  # few lines: a cheap look showed that the ids of the others are fine
    latest = F.col("arrived_at") + F.expr("INTERVAL 1 DAY")
    possible = (F.col("time") >= F.lit(f"{earliest} 00:00:00").cast("timestamp")) & (F.col("time") <= latest)
    few = F.exists(
        "clicked_ids", lambda id: ~F.array_contains("shown", id)
    )  # dearer than a hash set where they are many
    strangers = F.when(F.size("clicked_ids") < 20, few).otherwise(F.size(F.array_except("clicked_ids", "shown")) > 0)
    return (
        F.when(F.col("_fault").isNotNull(), F.col("_fault"))
        .when(F.col("_malformed").isNotNull(), F.col("_malformed"))
        .when(missing | (close & no_ids()), "missing_field")
        .when(close & bad_ids(F.col("_text")), "bad_id")
        .when(~F.coalesce(possible, F.lit(False)), "bad_time")
        .when(F.size("shown") == 0, "nothing_shown")
        .when(F.col("_bad_mark") | (close & no_clicked_ids()), "bad_click_mark")
        .when(F.col("clicked_ids").isNotNull() & strangers, "clicked_not_shown")
    )
