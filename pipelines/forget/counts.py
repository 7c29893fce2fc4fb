"""Updates ingest's counts after forget has removed lines from RAW_LOG: the number of each batch's removed lines."""

from __future__ import annotations

from collections.abc import Mapping

from pyspark.sql import functions as F

from pipelines.forget.erase_rows import commits_of
from pipelines.lake.tables import Lake
from schemas.raw_log import INGEST_RUNS, RAW_LOG


def update_counts(lake: Lake, run: str, *, since: Mapping[str, int]) -> None:
    """Add to each batch's `forgotten` the lines that the run's commits removed from RAW_LOG, each commit once."""
    if not lake.exists(INGEST_RUNS):
        return
    counted = _counted_version(lake, run, since.get(INGEST_RUNS.name, 0))
    commits = [
        (version, note)
        for version, note in commits_of(lake, RAW_LOG, run, since=since.get(RAW_LOG.name, 0))
        if version > counted
    ]
    gone: dict[tuple[str, int], int] = {}
    for _, note in commits:
        for batch, count in note["batches"]:
            gone[note["of"], batch] = gone.get((note["of"], batch), 0) + count
    if not gone:
        return
    lost = lake.spark.createDataFrame(
        [(*at, count) for at, count in gone.items()], "source string, batch bigint, lost bigint"
    )
    batches = lake.read(INGEST_RUNS).join(lost, ["source", "batch"], how="left")
    forgotten = F.when(F.col("lost").isNull(), F.col("forgotten")).otherwise(
        F.coalesce("forgotten", F.lit(0)) + F.col("lost")
    )
    note = {"forget": run, "settled": commits[-1][0]}
    lake.overwrite(INGEST_RUNS, batches.withColumn("forgotten", forgotten).drop("lost"), note=note)


def _counted_version(lake: Lake, run: str, since: int) -> int:
    """The latest version of RAW_LOG that INGEST_RUNS has counted, by the run's own commits; -1 if there is none."""
    return max((note["settled"] for _, note in commits_of(lake, INGEST_RUNS, run, since=since)), default=-1)
