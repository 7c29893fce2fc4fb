"""Rows to the last bit, for results that every engine and every run must give: as texts, or as one hash."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from pyspark.sql import Row

from pipelines.delta.table_ddl import TABLES
from pipelines.lake.tables import Lake
from schemas.news import ITEM_TOKENS

CLOCKS = ("arrived_at", "finished_at", "stamp")  # columns that tell of the moment of a run, or of a file on a disk


def digest(rows: Iterable[Row]) -> str:
    """Of the rows in any order, columns by name; times in UTC."""
    return hashlib.sha256("\n".join(texts(rows)).encode()).hexdigest()[:16]


def texts(rows: Iterable[Row | Mapping[str, Any]]) -> list[str]:
    """The rows, sorted."""
    return sorted(repr(_plain(row)) for row in rows)


def held(lake: Lake, *, but: Iterable[str] = CLOCKS) -> dict[str, list[str]]:
    """What the lake's tables hold: columns with their types, then the rows. A lake's own hashes are numbered."""
    found = {}
    for table in (table for table in TABLES if lake.exists(table)):
        frame = lake.read(table)
        kinds = [f"{name} {kind}" for name, kind in frame.dtypes]
        rows = [row.asDict() for row in frame.drop(*but).collect()]
        if table is ITEM_TOKENS:  # these hash the id of a table too
            first: dict[str, int] = {}
            for row in sorted(rows, key=lambda row: row["item_row"]):
                row["tokenizer_sha256"] = first.setdefault(row["tokenizer_sha256"], len(first))
        found[table.name] = [*kinds, *texts(rows)]
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, Row):
        value = value.asDict()
    if isinstance(value, Mapping):
        return sorted((name, _plain(each)) for name, each in value.items())
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return value.astimezone(UTC).isoformat() if isinstance(value, datetime) else value
