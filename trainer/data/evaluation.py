"""Reads the evaluation impressions of a packed directory and checks every entry against their contract."""

from __future__ import annotations

from io import BufferedReader
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from schemas.as_arrow import arrow_schema
from schemas.errors import ContractError
from schemas.news import PAD_ROW
from schemas.packed_batch import within
from schemas.trajectory import EVALUATION

_AGAIN = "Pack again with jobs.pack"
_PER_ENTRY = (
    "shown_id",
    "clicked",
    "shown_age_hours",
    "recent_shown",
    "recent_clicks",
)  # one value per entry
_NOT_NEGATIVE = ("shown_age_hours", "recent_shown", "recent_clicks")


def read_evaluation(source: Path | BufferedReader, rows: int, *, items: int, where: str = "") -> pa.Table:
    """The `rows` impressions of one file, whose entries name rows of a token table of `items`.

    ContractError names the file, as `where`, and the fault. Columns that were added later may be absent from older
    files.
    """
    where = where or str(source)
    try:
        table = pq.read_table(source)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise ContractError(f"{where}: no readable Parquet file ({_first_line(error)}). {_AGAIN}") from error
    fault = _columns_fault(table)
    if fault is None and len(table) != rows:
        fault = f"{len(table)} impressions, the manifest says {rows}"
    if fault is None:
        fault = _entries_fault(table, items)
    if fault is not None:
        raise ContractError(f"{where}: {fault}. {_AGAIN}")
    return table


def _columns_fault(table: pa.Table) -> str | None:
    for field in arrow_schema(EVALUATION):
        if field.name not in table.column_names:
            if not field.nullable or field.name == "clicked":  # other nullable columns were added later
                return f"lacks the column {field.name}"
        elif (found := table.schema.field(field.name).type) != field.type and not _same_list(found, field.type):
            return f"column {field.name} is {found}, not {field.type}"
        elif not field.nullable and table[field.name].null_count:
            return f"column {field.name} has {table[field.name].null_count} empty cells"
    return None


def _same_list(found: pa.DataType, wanted: pa.DataType) -> bool:
    """Whether both are lists of one type; writers name the elements differently."""
    return bool(pa.types.is_list(found) and pa.types.is_list(wanted) and found.value_type == wanted.value_type)


def _entries_fault(table: pa.Table, items: int) -> str | None:
    shown = _lengths(table, "shown_row")
    for name in _PER_ENTRY:
        if name in table.column_names:
            length = _lengths(table, name)
            if ((length != shown) & (length >= 0)).any():
                return f"{name} does not have one value for each entry of shown_row"
    unlabelled = table["clicked"].is_null().to_numpy(zero_copy_only=False)
    shown_row = _values(table, "shown_row")
    if shown_row is None or (history_row := _values(table, "history_row")) is None:
        return "history_row or shown_row has an empty entry"
    if not (within(history_row, PAD_ROW + 1, items) and within(shown_row, PAD_ROW, items)):
        return f"history_row or shown_row names a row beyond the {items} of the token table"
    if (np.repeat(~unlabelled, shown) & (shown_row == PAD_ROW)).any():
        return "shown_row names the pad in an impression with click marks"
    for name in _NOT_NEGATIVE:
        if name in table.column_names:
            values = _values(table, name)
            if values is None or not (np.isfinite(values) & (values >= 0)).all():
                return f"{name} is negative, empty or not finite"
    if table["clicked"].combine_chunks().flatten().null_count:
        return "clicked has an empty mark"
    return None


def _lengths(table: pa.Table, name: str) -> NDArray[np.int64]:
    """The length of each row's list; -1 where there is none."""
    lengths = table[name].combine_chunks().value_lengths().fill_null(-1)
    return np.asarray(lengths.to_numpy(zero_copy_only=False), np.int64)


def _values(table: pa.Table, name: str) -> NDArray[Any] | None:
    """All entries of a list column, flat; None where one is null."""
    values = table[name].combine_chunks().flatten()
    return None if values.null_count else np.asarray(values.to_numpy(zero_copy_only=False))


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def labelled(evaluation: pa.Table) -> pa.Table:
    """The impressions that carry click marks."""
    return evaluation.filter(pc.is_valid(evaluation["clicked"]))


def unlabelled(evaluation: pa.Table) -> pa.Table:
    """The impressions whose clicks are to be predicted."""
    return evaluation.filter(pc.is_null(evaluation["clicked"]))
