"""Reads Delta's log of one table by delta-rs: its version, properties, columns and commits.

This takes milliseconds and needs neither an engine nor Java.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from deltalake import DeltaTable, WriterProperties
from deltalake.exceptions import DeltaError

from schemas.delta_uri import table_uri
from schemas.errors import InputError

RULE = "delta.constraints."  # prefix of the properties that hold a table's CHECK constraints
ZSTD = WriterProperties(compression="ZSTD")  # of the files that delta-rs writes


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A table at one version, without its rows."""

    version: int
    id: str  # unique, given when the table was made
    properties: dict[str, str]
    columns: tuple[str, ...]


def is_table(path: str) -> bool:
    """Whether a Delta table lies at the path."""
    return DeltaTable.is_deltatable(table_uri(path))


def open_table(path: str, *, version: int | None = None) -> DeltaTable:
    """The table by delta-rs, at its latest version or the given one. InputError where that cannot be read."""
    try:
        return DeltaTable(table_uri(path), version=version)
    except DeltaError as error:
        if version is None:
            raise
        there = DeltaTable(table_uri(path))
        first = min((commit["version"] for commit in there.history()), default=there.version())
        name = path.rpartition("/")[2]
        raise InputError(
            f"{path}: version {version} of table {name} cannot be read; {first} to {there.version()} can. "
            "./feedloop maintain removes what is older than its retention. Name a later --as-of"
        ) from error


def snapshot(path: str, *, version: int | None = None) -> Snapshot:
    """The table's latest version, or the given one."""
    table = open_table(path, version=version)
    metadata = table.metadata()
    names = tuple(field.name for field in table.schema().fields)
    return Snapshot(table.version(), str(metadata.id), dict(metadata.configuration), names)


def rules_of(table: DeltaTable) -> dict[str, str]:
    """The table's CHECK constraints: name -> SQL."""
    held = table.metadata().configuration.items()
    return {name.removeprefix(RULE): sql for name, sql in held if name.startswith(RULE)}


def history(path: str, *, limit: int | None = None) -> list[dict[str, Any]]:
    """The latest commits as the log describes them, newest first: version, timestamp (ms since 1970, UTC), operation,
    operationMetrics, userMetadata. Commits whose file is gone are left out.
    """
    return list(open_table(path).history(limit))


def spelt_by_spark(table: DeltaTable) -> dict[str, list[str]]:
    """Partition columns -> values of the files whose paths hold letters beyond ASCII, which only Spark writes.

    delta-rs would remove such a file under another spelling of its path, which no reader knows: the rows would stay.
    """
    files = pa.table(table.get_add_actions(flatten=True)).to_pylist()
    spelt = [file for file in files if not file["path"].isascii()]
    found: dict[str, list[str]] = {}
    for name in table.metadata().partition_columns:
        values = {str(file[f"partition.{name}"]) for file in spelt}
        if odd := sorted(value for value in values if not value.isascii()):
            found[name] = odd
    return found
