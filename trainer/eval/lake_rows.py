"""Reads rows of the lake's Delta tables without Spark, by delta-rs and its SQL."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
from arro3.core import ChunkedArray, DataType
from deltalake import DeltaTable, QueryBuilder

from schemas.delta_uri import table_uri
from schemas.errors import InputError
from schemas.storage.place import Place


def delta_rows(
    path: Path | Place,
    columns: Mapping[str, pa.DataType],
    *,
    where: tuple[str, str] | None = None,
    version: int | None = None,
    later: Mapping[str, pa.DataType] | None = None,
) -> pa.Table:
    """Columns of a Delta table, by name and Arrow type, at one version (default: the newest).

    `where`: a column and the text that it must equal. `later`: columns that older tables lack; they are null there.
    InputError if there is no such table, version or column.
    """
    condition = "" if where is None else f" WHERE {where[0]} = {quoted(where[1])}"
    lacking = {}
    if later:
        held = query(path, "SELECT * FROM it LIMIT 0", {}, version=version).column_names
        lacking = {name: dtype for name, dtype in later.items() if name not in held}
        columns = {**columns, **{name: dtype for name, dtype in later.items() if name in held}}
    found = query(path, f"SELECT {', '.join(columns)} FROM it{condition}", columns, version=version)
    for name, dtype in lacking.items():
        found = found.append_column(name, pa.nulls(len(found), dtype))
    return found


def query(path: Path | Place, sql: str, columns: Mapping[str, pa.DataType], *, version: int | None = None) -> pa.Table:
    """The result of an SQL query of the Delta table, named `it` in the query: `columns` by name and Arrow type.

    InputError if there is no such table or version, or it lacks a column.
    """
    uri = table_uri(path)
    try:
        found = QueryBuilder().register("it", DeltaTable(uri, version=version)).execute(sql).read_all()
    except Exception as error:  # each layer of the library raises its own exceptions for missing things
        at = "" if version is None else f", version {version}"
        raise InputError(f"{path}: no Delta table{at} that can be read ({error})") from error
    return pa.table({name: _as(found.column(name), dtype) for name, dtype in columns.items()})


def quoted(text: str) -> str:
    """The text as an SQL literal."""
    return "'{}'".format(text.replace("'", "''"))


def _as(column: ChunkedArray, dtype: pa.DataType) -> pa.ChunkedArray:
    """The column as `dtype` for pyarrow 14, which lacks string views, delta-rs's type for texts."""
    return pa.chunked_array([pa.array(chunk) for chunk in column.cast(DataType.from_arrow(dtype)).chunks], dtype)
