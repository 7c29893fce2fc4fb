"""A short notation for impressions, histories and items of one source `p`, and the stage's result for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

from pyspark.sql import DataFrame, Row, SparkSession
from pyspark.sql import functions as F

from pipelines.engine.scratch import scratch
from pipelines.histories import hash_of
from pipelines.trajectories.config import TrajectoryConfig
from pipelines.trajectories.evaluate_from import start_of
from pipelines.trajectories.flow import evaluation, known_views, make_split, trajectories
from pipelines.trajectories.recent_counts import showings, with_recent
from pipelines.trajectories.resolve import with_first_shown
from pipelines.trajectories.sampling import sample_evaluation, without_bots
from pipelines.trajectories.split import with_split
from schemas.as_spark import spark_schema
from schemas.impression import HISTORIES, IMPRESSIONS
from schemas.news import ITEM_TOKENS
from schemas.trajectory import EVALUATION

START = datetime(2026, 3, 2, 9, tzinfo=UTC)
SPLIT = date(2026, 3, 4)
AFTER_SPLIT = 50  # hours after START


@dataclass(frozen=True)
class View:
    """One impression: hours after START, and news ids as words; a star marks a click."""

    impression_id: str
    user_id: str
    hour: float
    history: str
    shown: str
    labelled: bool = True

    @property
    def time(self) -> datetime:
        return START + timedelta(hours=self.hour)

    @property
    def news(self) -> list[tuple[str, bool]]:
        return [(word.strip("*"), word.endswith("*")) for word in self.shown.split()]

    @property
    def trains(self) -> bool:
        return self.labelled and self.time.date() < SPLIT


@dataclass
class Items:
    """Canonical row of each known news id."""

    rows: dict[str, int] = field(default_factory=lambda: {f"n{i}": i for i in range(1, 41)})


def impressions(spark: SparkSession, views: Sequence[View]) -> tuple[DataFrame, DataFrame]:
    """IMPRESSIONS and HISTORIES."""
    data = [
        (v.impression_id, v.user_id, v.time, v.history.split(), [n for n, _ in v.news],
         [c for _, c in v.news] if v.labelled else None)
        for v in views
    ]  # fmt: skip
    columns = "impression_id string, user_id string, time timestamp, history array<string>, "
    given = spark.createDataFrame(data, columns + "shown array<string>, clicked array<boolean>").withColumns(
        {
            "source": F.lit("p"),
            "date": F.to_date("time"),
            "last_time": F.col("time"),
            "history_length": F.size("history"),
            "history_hash": hash_of(F.col("history")),
            "sequence_hash": hash_of(F.col("history")),
            "clicks": F.col("history"),
        }
    )
    empty = {
        column.name: F.lit(None) if column.nullable else F.array() if column.dtype.startswith("array") else F.lit(0)
        for column in IMPRESSIONS.columns
        if column.name not in given.columns
    } | {"also_seen_as": F.array(F.concat(F.lit("again-"), "impression_id"))}
    complete = given.withColumns(empty)  # what the stage does not read
    return complete.select(*IMPRESSIONS.column_names), complete.select(*HISTORIES.column_names).distinct()


def item_tokens(spark: SparkSession, items: Items) -> DataFrame:
    """ITEM_TOKENS; an item's own row says nothing here, only its canonical one."""
    data = [
        ("p", name, at, row, "t", 1, "k", [0], [[1, 2]], 1, [2], [[]], [[]])
        for at, (name, row) in enumerate(items.rows.items(), 1)
    ]
    return spark.createDataFrame(data, spark_schema(ITEM_TOKENS))


def built(
    spark: SparkSession, views: Sequence[View], items: Items | None = None, *, parts: int | None = None, **options: Any
) -> tuple[list[Row], list[Row]]:
    """(TRAJECTORIES, EVALUATION) rows, in order; `parts` is the number of partitions of the inputs."""
    seen, histories = impressions(spark, views)
    tokens = item_tokens(spark, items or Items())
    if parts is not None:
        seen, histories, tokens = (frame.repartition(parts) for frame in (seen, histories, tokens))
    config = TrajectoryConfig(source="p", **options)
    with scratch() as keep:
        seen, _ = without_bots(seen, config, keep)
        first_shown = with_first_shown(tokens, seen)
        split = keep(seen.transform(with_split, histories, make_split(config, start_of(SPLIT))))
        known = sample_evaluation(keep(split.transform(known_views, first_shown)), config, keep)
        made = known.transform(trajectories, config).collect()
        shown = showings(seen, tokens, since=start_of(SPLIT))
        kept = known.transform(evaluation, config, first_shown).transform(with_recent, shown)
        kept = kept.select(*EVALUATION.column_names).collect()
    return sorted(made, key=lambda r: (r["user_id"], r["window"])), sorted(
        kept, key=lambda r: (r["impression_id"], r["user_id"])
    )
