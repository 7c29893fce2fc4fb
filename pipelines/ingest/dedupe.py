"""Third step of ingest: lines that tell of one impression -> one IMPRESSIONS row, in whatever order they came.

One impression = one (source, impression_id, user_id, time). What several lines say of it is united by rules that do not
depend on order, so that any splitting of the log into files, runs and days gives the same row:

- the same line again adds nothing (rule 1 of DESIGN §3);
- clicked: the union of all clicks; no line with marks = unlabelled (rule 2, its exact part);
- shown: the list itself where all lines agree; else all news of all lists, sorted by id, for no order can be trusted;
- history: the longest, and of equally long ones that with the largest hash.

Only `first_batch` depends on the runs: it names the one that first told of the impression.
"""

from __future__ import annotations

import functools
import operator

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from pipelines.histories import hash_of
from pipelines.tables import INCOMING, STORED
from schemas.impression import IMPRESSIONS


def per_impression(told: DataFrame) -> DataFrame:
    """IMPRESSIONS rows from usable lines, with `lines`: how many told of each."""
    telling = F.struct("shown", "clicked_ids")
    history = F.struct(F.size("history").alias("history_length"), hash_of(F.col("history")).alias("history_hash"))
    return (
        told.groupBy(*IMPRESSIONS.key)
        .agg(
            F.collect_set(telling).alias("_tellings"),  # a set: the same line delivered again is not in it twice
            F.max(history).alias("_history"),
            F.min("batch").alias("first_batch"),
            F.count("*").alias("lines"),
        )
        .withColumn("date", F.to_date("time"))
        .withColumn("shown", _united_lists(F.array_distinct(F.col("_tellings.shown"))))
        .withColumn("clicked", _marks(F.col("shown"), _united_ids(F.col("_tellings.clicked_ids"))))
        .select(*IMPRESSIONS.key, "date", "_history.*", "shown", "clicked", "first_batch", "lines")
    )


def united_row() -> dict[str, str | Column]:
    """What MERGE sets where a stored impression is told of again: the same rules, between two rows."""
    stored, incoming = ({name: F.col(f"{side}.{name}") for name in IMPRESSIONS.column_names} for side in _SIDES)
    shown = _united_lists(F.array_distinct(F.array(stored["shown"], incoming["shown"])))
    ids = _united_ids(F.array(*(_clicked_ids(row["shown"], row["clicked"]) for row in (stored, incoming))))
    history = F.greatest(*(F.struct(row["history_length"], row["history_hash"]) for row in (stored, incoming)))
    return {
        "shown": shown,
        "clicked": _marks(shown, ids),
        "history_length": history["history_length"],
        "history_hash": history["history_hash"],
    }


def row_changes() -> Column:
    """Whether uniting a stored impression with an incoming one changes it: rows that stay are not written again."""
    changes = [~F.col(f"{STORED}.{name}").eqNullSafe(value) for name, value in united_row().items()]
    return functools.reduce(operator.or_, changes)


_SIDES = (STORED, INCOMING)


def _united_lists(lists: Column) -> Column:
    """One list from the distinct ones: itself if it stands alone."""
    return F.when(F.size(lists) == 1, F.get(lists, F.lit(0))).otherwise(
        F.array_sort(F.array_distinct(F.flatten(lists)))
    )


def _united_ids(lists: Column) -> Column:
    """Ids of all lists that are not null; null if every one is."""
    known = F.filter(lists, lambda ids: ids.isNotNull())
    return F.when(F.size(known) > 0, F.flatten(known))


def _clicked_ids(shown: Column, clicked: Column) -> Column:
    return F.when(clicked.isNotNull(), F.filter(shown, lambda _, place: F.get(clicked, place)))


def _marks(shown: Column, clicked_ids: Column) -> Column:
    """A click mark for each shown news; null where no line had marks."""
    return F.when(clicked_ids.isNotNull(), F.transform(shown, lambda news_id: F.array_contains(clicked_ids, news_id)))
