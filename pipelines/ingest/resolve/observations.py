"""Third step of ingest: parsed lines -> keyed lines, one row each -> observations, which unite lines that agree.

An observation is one user, id, time and set of news; it unites its lines in whatever order they came: the same line
delivered again adds only to `lines` (rule 1 of DESIGN §3). Most observations have one line and stay lines: only lines
that share a hash of 8 bytes with another one are grouped.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import pyarrow as pa
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from pipelines.engine.expressions import distinct_of, greatest_of
from pipelines.histories import hash_of
from pipelines.ingest.parse.lines import readable

OBSERVATION = ("user_id", "impression_id", "time", "shown_hash")
KEYS = ("id_key", "view_key")


def keyed_lines(parsed: DataFrame, extra: Sequence[str] = ()) -> DataFrame:
    """One row per line. A refused line has `reason` and `refused`; a usable one has the rest, and these two are null.

    Columns: OBSERVATION and `date`; `shown` and `clicked_ids` (null = unlabelled) of the line; `history`, its
    `history_length` and `history_hash`; `repeated` 1 if it showed a news twice; KEYS: two lines can only be linked, by
    rules 1 to 3, if they share one of these; each `extra` column.
    """
    usable = F.col("reason").isNull()
    line = parsed.select(
        "reason",
        F.when(~usable, F.struct("file", "position", "line")).alias("refused"),
        *(F.when(usable, F.col(name)).alias(name) for name in ("user_id", "impression_id", "time", "history", "shown")),
        F.when(usable, F.col("clicked_ids")).alias("clicked_ids"),
        F.when(usable, F.xxhash64(text_of(F.array_sort("shown")))).alias("shown_hash"),
        F.when(usable, F.col("repeated_news").cast("int")).alias("repeated"),
        *extra,
    )
    columns = {name: F.col(name) for name in line.columns}
    keys = {name: F.when(usable, key) for name, key in zip(KEYS, link_keys(columns), strict=True)}
    history = {"history_length": F.size("history"), "history_hash": hash_of(F.col("history"))}
    return line.withColumns(
        {"date": F.to_date("time")} | {name: F.when(usable, value) for name, value in history.items()} | keys
    )


def usable(lines: DataFrame) -> DataFrame:
    """The keyed lines that hold an impression."""
    return lines.where(F.col("reason").isNull()).drop("reason", "refused")


def refused(lines: DataFrame) -> DataFrame:
    """REJECTS rows of the lines that hold no impression: file, position, line as text, reason.

    Bytes that are not UTF-8 become U+FFFD, by Python's rule: the embedded engine cannot convert them to text.
    """
    rows = lines.where(F.col("reason").isNotNull()).select("refused.file", "refused.position", "refused.line", "reason")
    return rows.mapInArrow(_with_text, "file string, position bigint, line string, reason string")


def per_observation(lines: DataFrame, extra: Sequence[str] = ()) -> DataFrame:
    """One row per observation of usable lines.

    Columns: OBSERVATION, `date`, KEYS; `shown` the list as text, in id order if lines disagree on it; `variants`:
    distinct (marks, history) as texts; `history` (length, hash, nearness) of the longest; `lines`; `repeated` lines
    that showed a news twice; the greatest of each `extra` column.
    """
    clicked, history = text_of(F.col("clicked_ids")).alias("clicked"), text_of(F.col("history")).alias("history")
    texts = lines.select(
        *(*OBSERVATION, "date", *KEYS, "repeated"),
        text_of(F.col("shown")).alias("shown"),
        F.struct(clicked, history).alias("variant"),
        history_of_line(lines).alias("longest"),
        *extra,
    )
    lists = F.min("shown") == F.max("shown")
    return texts.groupBy(*OBSERVATION, "date", *KEYS).agg(
        F.when(lists, F.min("shown")).otherwise(text_of(F.array_sort(ids_of(F.min("shown"))))).alias("shown"),
        distinct_of("variant").alias("variants"),
        greatest_of("longest").alias("history"),
        F.count("*").alias("lines"),
        F.sum("repeated").alias("repeated"),
        *(F.max(name).alias(name) for name in extra),
    )


def history_of_line(lines: DataFrame) -> Column:
    """A line's history for its impression, as a struct, of which the greatest counts. `nearness`: minus the offset."""
    length, offset = F.col("history_length"), F.lit(0)
    if "history_offset" in lines.columns:
        offset = F.coalesce("history_offset", F.lit(0))
    nearness = F.when(length.isNotNull(), (-offset).cast("int"))  # nullable, or structs of two frames have two types
    return F.struct(length.alias("length"), F.col("history_hash").alias("hash"), nearness.alias("nearness"))


def _with_text(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        columns = [readable(batch["line"]) if name == "line" else batch[name] for name in batch.schema.names]
        yield pa.RecordBatch.from_arrays(columns, batch.schema.names)


def text_of(ids: Column) -> Column:
    """A list of ids as one text, separated by blanks, which no id holds; null stays null."""
    return F.array_join(ids, " ")


def ids_of(text: Column) -> Column:
    """The inverse of `text_of`."""
    return F.when(text == "", F.array().cast("array<string>")).otherwise(F.split(text, " "))


def second_of(time: Column) -> Column:
    """The second in which a view was logged: two collectors may differ in its fractions."""
    return F.date_trunc("second", time)


def link_keys(observation: dict[str, Column]) -> tuple[Column, Column]:
    """Two hashes of an observation: two observations can only be linked, by rule 2 or rule 3, if they share one."""
    by_id = F.xxhash64(F.lit(2), observation["user_id"], observation["impression_id"])
    by_view = F.xxhash64(F.lit(3), observation["user_id"], second_of(observation["time"]), observation["shown_hash"])
    return by_id, by_view
