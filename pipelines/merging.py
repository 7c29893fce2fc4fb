"""Delta's MERGE: how the rows of a frame meet the stored rows of a table, in one commit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from delta.tables import DeltaMergeBuilder, DeltaTable
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from pipelines.commits import Changes, merged_changes
from pipelines.session import located

STORED, INCOMING = "stored", "incoming"  # how expressions name the two sides
OLD, GONE = "old", "gone"  # columns of what `replaced` takes
_FEW = 50_000  # rows of some KB that every task can hold: the stored rows then stay where they are


def merged(
    path: str,
    rows: DataFrame,
    *,
    key: Iterable[str],
    values: Iterable[str],
    set_on_match: Mapping[str, str | Column],
    update_when: str | Column | None,
    where: str | None,
) -> Changes:
    """Update what has the same key; insert the `values` of the other rows."""
    same_key = [f"{STORED}.{name} = {INCOMING}.{name}" for name in key]
    merging = _merging(path, rows, [*same_key, *([] if where is None else [f"({where})"])])
    updating = merging.whenMatchedUpdate(update_when, dict(set_on_match))
    return merged_changes(updating.whenNotMatchedInsert(values=_from_incoming(values)).execute())


def replaced(path: str, rows: DataFrame, *, where: str) -> Changes:
    """Stored rows become those that name them in `OLD`, or are deleted where `GONE`.

    Without a row to insert, Delta joins by a broadcast of the incoming rows; else it sorts all stored ones.
    """
    count = rows.count()
    if count == 0:
        return Changes()
    few = F.broadcast(rows) if count <= _FEW else rows
    old = rows.select(f"{OLD}.*").columns
    replacing = _merging(path, few, [*(f"{STORED}.{name} = {INCOMING}.{OLD}.{name}" for name in old), f"({where})"])
    values = _from_incoming(name for name in rows.columns if name not in (OLD, GONE))
    return merged_changes(replacing.whenMatchedDelete(f"{INCOMING}.{GONE}").whenMatchedUpdate(set=values).execute())


def _merging(path: str, rows: DataFrame, conditions: Iterable[str]) -> DeltaMergeBuilder:
    table = DeltaTable.forPath(rows.sparkSession, located(path)).alias(STORED)
    return table.merge(rows.alias(INCOMING), " AND ".join(conditions))


def _from_incoming(names: Iterable[str]) -> dict[str, str | Column]:
    return {name: f"{INCOMING}.{name}" for name in names}
