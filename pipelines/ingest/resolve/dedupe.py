"""Fifth step of ingest: linked observations -> one IMPRESSIONS row each, in whatever order their lines came.

Several observations are united by rules that do not depend on their order, so that every split of the log into files,
runs and days gives the same row:

- time: the earliest; impression_id: the smallest id of that second; also_seen_as: the other ids;
- shown: the list itself if all agree; else all news of all lists, sorted by id, for no order is reliable;
- clicked: the union of all clicks; no line with marks = unlabelled;
- history: the longest, and of equally long ones that with the largest hash, at the smallest known offset;
- extra columns: the greatest.

Only `first_batch` depends on the runs: it is the batch that first held the impression.
"""

from __future__ import annotations

from collections.abc import Sequence

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from pipelines.delta.merge import GONE, OLD
from pipelines.engine.expressions import distinct_of, greatest_of
from pipelines.ingest.resolve.linking import canonical_of, with_cluster, with_component
from pipelines.ingest.resolve.observations import history_of_line, ids_of, text_of

_ROW = (
    "date", "last_time", "span_days", "history_length", "history_hash", "history_offset", "shown", "clicked",
    "also_seen_as", "sighting_id", "sighting_time", "sighting_shown",
)  # fmt: skip
COUNTS = ("lines", "gained", "replayed", "retold", "double_logged", "repeated_news")
_SUMS = ("lines", "distinct_lines", "repeated_news")
_KEY = "struct<impression_id:string,time:timestamp>"


def single_impressions(lines: DataFrame, *, batch: int, extra: Sequence[str] = ()) -> DataFrame:
    """As `unlinked_impressions`, for lines that share no key with another one, so that nothing is grouped."""
    marks = F.transform("shown", lambda news_id: F.array_contains("clicked_ids", news_id))
    kept = ("date", "history_length", "history_hash", "shown")
    values = {name: F.col(name) for name in kept} | {
        "last_time": F.col("time"),
        "span_days": F.lit(0),
        "history_offset": _offset(history_of_line(lines)["nearness"]),
        "clicked": F.when(F.col("clicked_ids").isNotNull(), marks),
        "also_seen_as": F.array().cast("array<string>"),
        "sighting_id": F.lit(None).cast("array<string>"),
        "sighting_time": F.lit(None).cast("array<timestamp>"),
        "sighting_shown": F.array("shown_hash"),
    }
    row = (values[name].alias(name) for name in _ROW)
    return lines.select("user_id", "impression_id", "time", *row, _first_batch(batch), *extra)


def unlinked_impressions(observations: DataFrame, *, batch: int, extra: Sequence[str] = ()) -> DataFrame:
    """IMPRESSIONS rows (without `source`) of observations that are linked to no other."""
    rows = observations.select(*_observation_parts(batch), *extra).transform(_with_row)
    return rows.select("user_id", "impression_id", "time", *_ROW, "first_batch", *extra)


def linked_impressions(
    observations: DataFrame, stored: DataFrame | None, *, batch: int, extra: Sequence[str] = ()
) -> DataFrame:
    """IMPRESSIONS rows (without `source`) of linked observations, united with the `stored` rows linked to them.

    Adds the counts of COUNTS; `stored`: keys of the rows that the lake holds of the impression; `changed`: whether a
    row must be written.
    """
    parts = observations.select(*_observation_parts(batch), *extra)
    if stored is not None:
        known = [name for name in extra if name in stored.columns]
        rows = stored.select(*_stored_parts(stored), _row_hash(known).alias("_stored_hash"), *known)
        parts = parts.unionByName(rows, allowMissingColumns=True)
    else:
        parts = parts.withColumns({"_stored_key": F.lit(None).cast(_KEY), "_stored_hash": F.lit(None).cast("long")})
    kept = [name for name in parts.columns if name not in ("impression_id", "time", "observations")]
    single = parts.select(*kept, F.inline("observations"))
    linked = single.transform(with_cluster).transform(with_component)
    component = (F.col(f"component.{name}").alias(f"_component_{name}") for name in ("id", "start"))
    united = linked.groupBy("user_id", *component).agg(*_united(), *(F.max(name).alias(name) for name in extra))
    rows = united.where("lines > 0").withColumns(canonical_of("observations"))
    same = F.array(F.struct("impression_id", "time")) == F.col("stored")
    unchanged = same & (F.col("_stored_hash") == _row_hash(extra))
    return (
        rows.transform(_with_row)
        .withColumn("changed", ~F.coalesce(unchanged, F.lit(False)))
        .transform(_with_counts)
        .select("user_id", "impression_id", "time", *_ROW, "first_batch", *COUNTS, "stored", "changed", *extra)
    )


def new_rows(linked: DataFrame) -> DataFrame:
    """The IMPRESSIONS rows of linked impressions that the lake does not hold."""
    return linked.where("size(stored) = 0").drop("stored", "changed", *COUNTS)


def stored_changes(linked: DataFrame) -> DataFrame:
    """One row per stored row that changes: `old` its key, and the IMPRESSIONS row that replaces it.

    If several stored rows are now one, the row replaces one of them, and the others are `gone`.
    """
    own = F.struct("impression_id", "time")
    kept = F.when(F.array_contains("stored", own), own).otherwise(F.element_at("stored", 1))
    changed = linked.where("changed AND size(stored) > 0").withColumn("_kept", kept)
    each = changed.withColumn("_old", F.explode("stored"))
    old = F.struct("user_id", "_old.impression_id", "_old.time", F.to_date("_old.time").alias("date"))
    rows = each.withColumns({OLD: old, GONE: F.col("_old") != F.col("_kept")})
    return rows.drop("_old", "_kept", "stored", "changed", *COUNTS)


def alias_rows(rows: DataFrame) -> DataFrame:
    """ALIASES rows (without `source`): the observations of `rows` whose id or time differs from the row's own."""
    seen = F.arrays_zip("sighting_id", "sighting_time")
    named = rows.where("sighting_id IS NOT NULL").select(
        "user_id",
        F.col("impression_id").alias("canonical_id"),
        F.col("time").alias("canonical_time"),
        F.explode(seen).alias("seen"),
    )
    return (
        named.select("user_id", "canonical_id", "canonical_time", "seen.*")
        .withColumnsRenamed({"sighting_id": "impression_id", "sighting_time": "time"})
        .where("impression_id != canonical_id OR time != canonical_time")
        .distinct()
    )


def stored_observations(stored: DataFrame) -> DataFrame:
    """The observations of stored rows, one row each, with the key of the row (`row`)."""
    key = F.struct("user_id", "impression_id", "time", "date").alias("row")
    return stored.select(key, "user_id", F.inline(_seen()))


def _observation_parts(batch: int) -> list[Column]:
    """The parts that an observation adds to its impression."""
    return [
        F.col("user_id"),
        F.col("impression_id"),
        F.col("time"),
        F.array(F.struct("impression_id", "time", "shown_hash")).alias("observations"),
        F.array("shown").alias("lists"),
        F.filter("variants.clicked", lambda text: text.isNotNull()).alias("marks"),
        F.col("history"),
        _first_batch(batch),
        F.col("lines"),
        F.col("repeated").alias("repeated_news"),
        F.size("variants").cast("long").alias("distinct_lines"),
    ]


def _stored_parts(stored: DataFrame) -> list[Column]:
    """The parts that a stored row adds: those of all its observations."""
    clicked = F.filter("shown", lambda _, place: F.get("clicked", place))
    no_marks = F.array().cast("array<string>")
    return [
        F.col("user_id"),
        F.col("impression_id"),
        F.col("time"),
        _seen().alias("observations"),
        F.array(text_of(F.col("shown"))).alias("lists"),
        F.when(F.col("clicked").isNull(), no_marks).otherwise(F.array(text_of(clicked))).alias("marks"),
        history_of_line(stored).alias("history"),
        F.col("first_batch"),
        *(F.lit(0).cast("long").alias(name) for name in _SUMS),
        F.struct("impression_id", "time").alias("_stored_key"),
    ]


def _seen() -> Column:
    """The observations of a stored row."""
    ids, times = F.coalesce("sighting_id", F.array("impression_id")), F.coalesce("sighting_time", F.array("time"))
    return F.arrays_zip(ids.alias("impression_id"), times.alias("time"), F.col("sighting_shown").alias("shown_hash"))


def _united() -> list[Column]:
    """Aggregates that unite the parts of one impression."""
    observation = F.struct("impression_id", "time", "shown_hash")
    stored_id = F.when(F.col("_stored_key").isNotNull(), F.col("impression_id"))
    return [
        F.array_sort(distinct_of(observation)).alias("observations"),
        F.array_distinct(F.flatten(F.collect_list("lists"))).alias("lists"),
        F.array_distinct(F.flatten(F.collect_list("marks"))).alias("marks"),
        greatest_of("history").alias("history"),
        F.min("first_batch").alias("first_batch"),
        *(F.sum(name).alias(name) for name in _SUMS),
        F.count_distinct("impression_id").cast("int").alias("ids"),
        F.count_distinct(stored_id).cast("int").alias("stored_ids"),
        F.array_sort(distinct_of("_stored_key")).cast(f"array<{_KEY}>").alias("stored"),
        F.max("_stored_hash").alias("_stored_hash"),
    ]


def _with_row(parts: DataFrame) -> DataFrame:
    """Adds the columns of _ROW from observations, lists, marks and history."""
    all_news = ids_of(text_of(F.col("lists")))
    shown = F.when(F.size("lists") == 1, all_news).otherwise(F.array_sort(F.array_distinct(all_news)))
    # No id is empty, so the empty text of marks without a click matches no news.
    clicked_ids = F.split(text_of(F.col("marks")), " ")
    clicked = F.transform("shown", lambda news_id: F.array_contains("_clicked_ids", news_id))
    last_time = F.array_max("observations.time")
    several = F.size("observations") > 1
    ids = F.array_distinct("observations.impression_id")
    return (
        parts.withColumns({"shown": shown, "_clicked_ids": clicked_ids})
        .withColumns(
            {
                "clicked": F.when(F.size("marks") > 0, clicked),
                "date": F.to_date("time"),
                "last_time": last_time,
                "span_days": F.date_diff(last_time, "time").cast("int"),
                "history_length": F.col("history.length"),
                "history_hash": F.col("history.hash"),
                "history_offset": _offset(F.col("history.nearness")),
                "also_seen_as": F.array_sort(F.array_remove(ids, F.col("impression_id"))),
                "sighting_id": F.when(several, F.col("observations.impression_id")),
                "sighting_time": F.when(several, F.col("observations.time")),
                "sighting_shown": F.col("observations.shown_hash"),
            }
        )
        .drop("_clicked_ids")
    )


def _with_counts(rows: DataFrame) -> DataFrame:
    """Adds counts of the batch's lines: rows `gained`, and the other lines by the rule that merged them."""
    gained = 1 - F.size("stored")
    nothing_new = ~F.col("changed")
    replayed = F.when(nothing_new, F.col("lines") - gained).otherwise(F.col("lines") - F.col("distinct_lines"))
    rest = F.col("lines") - F.col("gained") - F.col("replayed")
    other_ids = F.col("ids") - F.greatest("stored_ids", F.lit(1))
    return (
        rows.withColumns({"gained": gained.cast("long"), "replayed": replayed.cast("long")})
        .withColumn("double_logged", F.least(rest, other_ids.cast("long")))
        .withColumn("retold", rest - F.col("double_logged"))
    )


def _row_hash(extra: Sequence[str]) -> Column:
    """A hash of all that a run may change in a row. Without the offset: another offset leads to the same history."""
    return F.xxhash64(*(name for name in _ROW if name != "history_offset"), *extra)


def _offset(nearness: Column) -> Column:
    return F.when(nearness < 0, -nearness)


def _first_batch(batch: int) -> Column:
    return F.lit(batch).cast("long").alias("first_batch")
