"""Erases users' rows from one table, source by source, in commits without ids, which a killed run can repeat.

The partitions that hold such rows are rewritten without them. A predicate on ids would be stored in Delta's log. Then
INGEST_RUNS gets the number of each batch's erased lines.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from pipelines.delta.table_ddl import literal
from pipelines.ingest.discover.table_log import table_log
from pipelines.lake.tables import Lake
from schemas.errors import ContractError
from schemas.impression import ALIASES, HISTORIES, IMPRESSIONS
from schemas.raw_log import INGEST_RUNS, RAW_LOG, REJECTS
from schemas.table import Table
from schemas.trajectory import EVALUATION, TRAJECTORIES

# In the order of erasure: RAW_LOG last, for the others' lines are found by it.
OF_USERS = (TRAJECTORIES, EVALUATION, IMPRESSIONS, ALIASES, HISTORIES)
OF_LINES = (REJECTS, RAW_LOG)
ERASED = (*OF_USERS, *OF_LINES)
# The other tables, and why they keep all rows.
KEPT = {
    "ingest_files": "files by name, size and hash: what need not be read again",
    "ingest_runs": "counts per batch",
    "news": "what the publisher wrote",
    "corpus_statistics": "words of news",
    "item_tokens": "tokens of news",
    "near_duplicates": "pairs of news",
    "embeddings": "vectors of news; the checkpoint that made them is named if its data held these users",
    "suppressions": "hashes of the users who were forgotten",
    "erasures": "counts for an auditor",
}
_NOTE = "forget"  # the key under which a commit that erases rows notes the run


def erase(
    lake: Lake, table: Table, source: str, *, gone: DataFrame, on: Sequence[str], note: Mapping[str, Any]
) -> dict[Any, int]:
    """Erase the source's rows that match `gone` in the columns `on`; returns their number by `batch` for RAW_LOG, else
    under None. Without such rows it writes nothing.

    Partitions with rows that are only marked as deleted are rewritten too, for these may be any user's.
    """
    ours = lake.read(table).where(F.col("source") == source)
    by = [name for name in table.partition_by if name != "source"]
    counted = ["batch"] if table is RAW_LOG else []
    groups = ours.join(gone, [*on], how="left_semi").groupBy(*by, *counted).agg(F.count("*").alias("rows"))
    hit = groups.where("rows > 0").collect()  # without columns there is one group, even of no rows
    marked = _with_marked_rows(lake, table, source)
    if not hit and not marked:
        return {}
    where = _region(table, source, [*({name: row[name] for name in by} for row in hit), *marked])
    rows = ours.where(where).join(gone, [*on], how="left_anti")
    erased: dict[Any, int] = {}
    for row in hit:
        batch = row["batch"] if counted else None
        erased[batch] = erased.get(batch, 0) + row["rows"]
    noted = {"of": source, "rows": sum(erased.values()), **note}
    if counted:
        noted["batches"] = [[batch, count] for batch, count in sorted(erased.items())]
    lake.overwrite(table, rows, where=where, note=noted, evolve=True)
    return erased


def commits_of(lake: Lake, table: Table, run: str, *, since: int) -> list[tuple[int, dict[str, Any]]]:
    """(version, note) of the run's commits that erased rows of the table after version `since`, oldest first."""
    if not lake.exists(table):
        return []
    found = lake.commits(table, limit=max(0, lake.version(table) - since))
    return sorted(((c.version, c.note) for c in found if c.note and c.note.get(_NOTE) == run), key=lambda each: each[0])


def note_of(run: str) -> dict[str, Any]:
    """The note of each commit of the run."""
    return {_NOTE: run}


def _with_marked_rows(lake: Lake, table: Table, source: str) -> list[dict[str, Any]]:
    """The partitions of the source whose files still hold rows that Spark has marked as deleted."""
    if not table.deletion_vectors:
        return []
    found = [dict(file.partition) for file in table_log(lake.path(table)).files if len(file.deleted)]
    return [{k: v for k, v in each.items() if k != "source"} for each in found if each.get("source") == source]


def _region(table: Table, source: str, partitions: Sequence[Mapping[str, Any]]) -> str:
    """A condition on partition columns alone that selects all of these partitions."""
    conditions = [f"source = {literal(source)}"]
    for name in table.partition_by:
        if name == "source":
            continue
        values = {each[name] for each in partitions}
        some = [value for value in values if value is not None]
        if not all(isinstance(value, date) for value in some):
            raise ContractError(f"table {table.name}: {name} is no date. Report this, for it is a fault of forget")
        days = ", ".join(f"DATE '{value}'" for value in sorted(some))
        either = [f"{name} IN ({days})"] if some else []
        either += [f"{name} IS NULL"] if None in values else []
        conditions.append(f"({' OR '.join(either)})")
    return " AND ".join(conditions)


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
