"""Rows of users taken out of one table, source by source: a commit with no id in it, which a killed run can repeat.

The partitions that hold such rows are written anew without them. A predicate on ids would stand in Delta's log.
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
from schemas.raw_log import RAW_LOG, REJECTS
from schemas.table import Table
from schemas.trajectory import EVALUATION, TRAJECTORIES

# In the order in which they lose rows: RAW_LOG, by which the others' lines are found, last.
OF_USERS = (TRAJECTORIES, EVALUATION, IMPRESSIONS, ALIASES, HISTORIES)
OF_LINES = (REJECTS, RAW_LOG)
ERASED = (*OF_USERS, *OF_LINES)
# The others, and why they keep all rows.
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
_NOTE = "forget"  # of a commit that takes out rows: the run


def erase(
    lake: Lake, table: Table, source: str, *, gone: DataFrame, on: Sequence[str], note: Mapping[str, Any]
) -> dict[Any, int]:
    """Take the source's rows out of the table that `gone` names by the columns `on`; how many of each value of
    `batch`, where the table has that column, else under None. Nothing is written where there are none.

    Also written anew is where rows are only marked as deleted, for these may be of anyone.
    """
    ours = lake.read(table).where(F.col("source") == source)
    by = [name for name in table.partition_by if name != "source"]
    counted = ["batch"] if table is RAW_LOG else []
    groups = ours.join(gone, [*on], how="left_semi").groupBy(*by, *counted).agg(F.count("*").alias("rows"))
    hit = groups.where("rows > 0").collect()  # of no columns there is one group, without a row too
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
    """(version, note) of the run's commits that took rows out of the table, oldest first. `since`: a version before."""
    if not lake.exists(table):
        return []
    found = lake.commits(table, limit=max(0, lake.version(table) - since))
    return sorted(((c.version, c.note) for c in found if c.note and c.note.get(_NOTE) == run), key=lambda each: each[0])


def note_of(run: str) -> dict[str, Any]:
    """What each commit of the run notes."""
    return {_NOTE: run}


def _with_marked_rows(lake: Lake, table: Table, source: str) -> list[dict[str, Any]]:
    """The partitions of the source with rows that Spark has marked as deleted, and which their files still hold."""
    if not table.deletion_vectors:
        return []
    found = [dict(file.partition) for file in table_log(lake.path(table)).files if len(file.deleted)]
    return [{k: v for k, v in each.items() if k != "source"} for each in found if each.get("source") == source]


def _region(table: Table, source: str, partitions: Sequence[Mapping[str, Any]]) -> str:
    """A condition on partitions alone that holds all of these."""
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
