"""Second step of ingest: RAW_LOG lines -> what each tells, or the reason why it is refused.

The reasons, in the order in which they are tried (one line has one reason):

- `not_utf8`: the bytes are no UTF-8
- `not_json`: a JSON line that is not exactly one whole object (cut off, two records glued together, blank)
- `wrong_column_count`: a MIND line without exactly five tab-separated columns
- `missing_field`: impression id, user id, time, history or shown is absent, null or of a wrong type, an id is empty,
  or a list holds something that is no id. An empty history is fine, and numbers are read as ids
- `bad_time`: no time of the format, before the year 2000, or more than a day after the line arrived
- `nothing_shown`: the list of shown news is empty
- `bad_click_mark`: click marks on some shown news only, a mark other than 0 or 1, or `clicked` is no list of ids
- `clicked_not_shown`: a clicked news is not among those shown

A news shown twice in one impression is one candidate, at its first place, clicked if either was (DESIGN §3, rule 4).
"""

from __future__ import annotations

from collections.abc import Callable

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from pipelines.ingest.sources import MIND_COLUMNS

_EARLIEST = "2000-01-01 00:00:00"
_ISO_TIME = r"^\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}:\d{2}(\.\d{1,6})?(Z|[+-]\d{2}:\d{2})?$"
_MIND_TIME = "M/d/yyyy h:mm:ss a"
_MIND_TIME_SHAPE = r"^\d{1,2}/\d{1,2}/\d{4} \d{1,2}:\d{2}:\d{2} [AP]M$"
# `clicked` stays text here: a list that cannot be read must be told apart from an absent one (unlabelled).
_JSON_SCHEMA = (
    "impression_id string, user_id string, time string, history array<string>, shown array<string>, "
    "clicked string, _malformed string"
)
TOLD = ("impression_id", "user_id", "time", "history", "shown", "clicked_ids")


def with_told(raw: DataFrame, format: str) -> DataFrame:
    """RAW_LOG rows plus what each line tells (TOLD; `clicked_ids` null = unlabelled) and `reason`, null if usable."""
    text = F.rtrim(F.col("line").cast("string"), F.lit("\r"))
    readable = F.is_valid_utf8(text)
    fields = raw.withColumn("_utf8", readable).withColumn("_text", F.when(readable, text))
    return (
        fields.transform(_FIELDS[format])
        .withColumn("reason", _reason())
        .withColumn("shown", F.array_distinct("shown"))
        .drop("_utf8", "_text", "_malformed", "_bad_mark")
    )


def keep_told(judged: DataFrame) -> DataFrame:
    """The usable lines: where each came from and what it tells."""
    return judged.where(F.col("reason").isNull()).select("source", "batch", *TOLD)


def keep_rejects(judged: DataFrame) -> DataFrame:
    """REJECTS rows of the refused lines."""
    line = F.make_valid_utf8(F.col("line").cast("string"))
    return judged.where(F.col("reason").isNotNull()).withColumn("line", line)


def _with_json_fields(lines: DataFrame) -> DataFrame:
    options = {"mode": "PERMISSIVE", "columnNameOfCorruptRecord": "_malformed"}
    record = lines.withColumn("_record", F.from_json("_text", _JSON_SCHEMA, options))
    told = [F.col(f"_record.{name}") for name in TOLD[:-1]]
    nothing = F.coalesce(*(column.cast("string") for column in told), F.col("_record.clicked")).isNull()
    # The parser stops after the first object: what follows it would be lost without a word.
    one_object = F.col("_text").rlike(r"^\s*\{") & F.col("_text").rlike(r"\}\s*$") & ~F.col("_text").rlike(r"\}\s*\{")
    unreadable = ~one_object | (nothing & F.col("_record._malformed").isNotNull())
    clicked = F.col("_record.clicked")
    ids = F.from_json(clicked, "array<string>")
    time = F.when(F.col("_record.time").rlike(_ISO_TIME), F.try_to_timestamp("_record.time"))
    return record.select(
        *lines.columns,
        F.when(unreadable, "not_json").alias("_malformed"),
        F.col("_record.impression_id").alias("impression_id"),
        F.col("_record.user_id").alias("user_id"),
        F.col("_record.time").alias("_time_text"),
        time.alias("time"),
        F.col("_record.history").alias("history"),
        F.col("_record.shown").alias("shown"),
        ids.alias("clicked_ids"),
        (clicked.isNotNull() & (ids.isNull() | _has_hole(ids))).alias("_bad_mark"),
    )


def _with_mind_fields(lines: DataFrame) -> DataFrame:
    columns = F.split("_text", "\t", -1)
    impression_id, user_id, time, history, shown = (F.trim(F.get(columns, F.lit(i))) for i in range(MIND_COLUMNS))
    marked, clicked = r"-[01]$", r"-1$"
    tokens = _ids(shown)
    labelled = F.forall(tokens, lambda token: token.rlike(marked))
    unlabelled = ~F.exists(tokens, lambda token: token.contains("-"))  # no id of MIND has a hyphen
    ids = F.transform(tokens, lambda token: F.regexp_replace(token, marked, ""))
    clicked_ids = F.transform(
        F.filter(tokens, lambda token: token.rlike(clicked)), lambda token: F.regexp_replace(token, clicked, "")
    )
    return lines.select(
        *lines.columns,
        F.when(F.size(columns) != MIND_COLUMNS, "wrong_column_count").alias("_malformed"),
        impression_id.alias("impression_id"),
        user_id.alias("user_id"),
        time.alias("_time_text"),
        F.when(time.rlike(_MIND_TIME_SHAPE), F.try_to_timestamp(time, F.lit(_MIND_TIME))).alias("time"),
        _ids(history).alias("history"),
        F.when(unlabelled, tokens).otherwise(ids).alias("shown"),
        F.when(labelled, clicked_ids).alias("clicked_ids"),
        (~labelled & ~unlabelled).alias("_bad_mark"),
    )


_FIELDS: dict[str, Callable[[DataFrame], DataFrame]] = {"jsonl": _with_json_fields, "mind": _with_mind_fields}


def _reason() -> Column:
    """The first rule that the line breaks, null if none. A comparison with null decides nothing, hence the coalesce."""
    ids = [F.col("impression_id"), F.col("user_id")]
    no_id = [~F.coalesce(F.length(F.trim(column)) > 0, F.lit(False)) | _no_scalar(column) for column in ids]
    absent = F.col("_time_text").isNull() | (F.trim("_time_text") == "")
    hole = [F.col(name).isNull() | _has_hole(F.col(name)) for name in ("history", "shown")]
    missing = no_id[0] | no_id[1] | absent | hole[0] | hole[1]
    latest = F.col("arrived_at") + F.expr("INTERVAL 1 DAY")
    possible = (F.col("time") >= F.lit(_EARLIEST).cast("timestamp")) & (F.col("time") <= latest)
    strangers = F.size(F.array_except("clicked_ids", "shown")) > 0
    return (
        F.when(~F.col("_utf8"), "not_utf8")
        .when(F.col("_malformed").isNotNull(), F.col("_malformed"))
        .when(missing, "missing_field")
        .when(~F.coalesce(possible, F.lit(False)), "bad_time")
        .when(F.size("shown") == 0, "nothing_shown")
        .when(F.col("_bad_mark"), "bad_click_mark")
        .when(F.col("clicked_ids").isNotNull() & strangers, "clicked_not_shown")
    )


def _ids(text: Column) -> Column:
    return F.filter(F.split(text, " +"), lambda token: token != "")


def _has_hole(ids: Column) -> Column:
    return F.exists(ids, lambda id: id.isNull() | (F.trim(id) == "") | _no_scalar(id))


def _no_scalar(id: Column) -> Column:
    """An object or a list where an id should be: the JSON reader hands it over as its text."""
    return id.startswith("{") | id.startswith("[")
