"""Writes data files of a table with the embedded engine, and describes them for Delta's log.

delta-rs would write the rows of one stream that passes through this process. The engine writes them where they are
computed, on all cores; delta-rs then commits the files.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import reduce
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import DeltaTable
from deltalake.transaction import AddAction
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from pipelines.delta.delta_errors import NullError, RuleError, broken_rule
from pipelines.delta.log import rules_of
from pipelines.delta.reading import delta_frame, files_frame, plain_uri
from pipelines.engine.spans import SPAN, with_spans
from schemas.storage.files import below, remove_folder
from schemas.storage.paths import path_of
from schemas.storage.place import Place
from schemas.table import Table

_PART = "feedloop_part"  # a file's hash of its partition and its span of time
_EXACT_BYTES = 64  # a longer text in a file's statistics may have been cut off


@dataclass(frozen=True, slots=True)
class DataFiles:
    """Files below a table's folder that no version of the table contains yet."""

    folder: Place
    frame: DataFrame  # their rows
    adds: list[AddAction]
    rows: int

    def remove(self) -> None:
        """Remove the files."""
        remove_folder(self.folder)


def write_files(table: Table, at: DeltaTable, path: str, rows: DataFrame, times: DataFrame | None = None) -> DataFiles:
    """Write the rows as files of the table at `path` (null in columns that they lack), and check them by its rules.

    Each file holds rows of one partition and, where the table's files are ordered by time, of one span of it. The
    files also hold the partition columns, and their values are read from there.

    NullError or RuleError, with all files removed, where a row breaks a rule of the table.
    """
    rows = as_stored(rows, at, path)
    name = uuid4().hex
    folder = Place.of(f"{path}/{name}")
    part = [*at.metadata().partition_columns]
    if table.ordered_by is not None:
        rows = with_spans(table, at, rows, times)
        part.append(SPAN)
    # Not xxhash64: the embedded engine's fails on a file that holds only one value.
    texts = [F.coalesce(F.col(f"`{column}`").cast("string"), F.lit("\x02")) for column in part]
    parted = rows.withColumn(_PART, F.md5(F.concat_ws("\x01", *texts)))
    together = parted if table.ordered_by is None else parted.repartition(_PART)
    try:
        together.drop(SPAN).write.option("compression", "zstd").partitionBy(_PART).parquet(plain_uri(path, name))
        frame = files_frame(rows.drop(SPAN), plain_uri(path, name))
        _check(at, frame)
        adds = [
            _add_action(at, f"{name}/{below_it}", folder / below_it, entry.bytes)
            for below_it, entry in below(folder)
            if below_it.endswith(".parquet")
        ]
    except BaseException:
        remove_folder(folder)
        raise
    found = [add for add in adds if add is not None]
    return DataFiles(folder, frame, found, sum(json.loads(add.stats)["numRecords"] for add in found))


def as_stored(rows: DataFrame, at: DeltaTable, path: str) -> DataFrame:
    """The rows with every column of the table, in its types. The union gives list elements the table's name for them:
    the engine cannot read a table whose files use another name, and no cast can change it.
    """
    stored = delta_frame(rows.sparkSession, path, version=at.version())
    return stored.limit(0).unionByName(rows, allowMissingColumns=True)


def _check(at: DeltaTable, rows: DataFrame) -> None:
    """NullError or RuleError where a row breaks a rule of the table."""
    rules = rules_of(at)
    required = [field.name for field in at.schema().fields if not field.nullable]
    wrong: list[Column] = [F.col(f"`{name}`").isNull() for name in required]
    wrong += [F.expr(f"NOT coalesce({sql}, false)") for sql in rules.values()]
    if not wrong or rows.where(reduce(Column.__or__, wrong)).isEmpty():
        return
    for name in required:
        if not rows.where(F.col(f"`{name}`").isNull()).isEmpty():
            raise NullError(name)
    broken = broken_rule(rows, rules)
    assert broken is not None, "one of the conditions held a moment ago"
    raise RuleError(broken)


def _add_action(at: DeltaTable, name: str, place: Place, size: int) -> AddAction | None:
    """The entry of Delta's log for a file below the table's folder; None for a file without rows."""
    with path_of(place).open("rb") as opened, pq.ParquetFile(opened) as file:
        if file.metadata.num_rows == 0:
            return None
        lists = [field for field in file.schema_arrow if pa.types.is_list(field.type)]
        wrong = [field.name for field in lists if field.type.value_field.name != "element"]
        assert not wrong, f"{name}: the elements of {wrong} have another name than in the table"
        partitions = at.metadata().partition_columns
        row = next(file.iter_batches(1, columns=partitions)).to_pylist()[0] if partitions else {}
        stats = _stats(file, partitions)
    values = {column: _text(row[column]) for column in partitions}
    now = int(datetime.now(UTC).timestamp() * 1000)
    return AddAction(name, size, values, now, True, json.dumps(stats))


def _stats(file: pq.ParquetFile, partitions: list[str]) -> dict[str, Any]:
    """The number of rows and, per column with statistics in every row group, least value, greatest value and nulls."""
    least, greatest, nulls = dict[str, Any](), dict[str, Any](), dict[str, int]()
    groups = [file.metadata.row_group(number) for number in range(file.num_row_groups)]
    for index in range(file.metadata.num_columns):
        chunks = [group.column(index) for group in groups]
        name = chunks[0].path_in_schema
        found = [chunk.statistics for chunk in chunks]
        if name in partitions or "." in name or not all(each and each.has_null_count for each in found):
            continue
        nulls[name] = sum(each.null_count for each in found)
        bounds = [(each.min, each.max) for each in found if each.has_min_max]
        if len(bounds) == len(found) and all(map(_is_exact, (value for pair in bounds for value in pair))):
            least[name] = _logged(min(low for low, _ in bounds))
            greatest[name] = _logged(max(high for _, high in bounds))
    return {"numRecords": file.metadata.num_rows, "minValues": least, "maxValues": greatest, "nullCount": nulls}


def _is_exact(bound: Any) -> bool:
    """Whether a bound of a file's statistics is a value of the file that JSON can hold."""
    if isinstance(bound, str):
        return len(bound.encode()) < _EXACT_BYTES
    return not isinstance(bound, bytes) and (not isinstance(bound, float) or math.isfinite(bound))


def _logged(value: Any) -> Any:
    """A bound in delta-rs' form."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).replace(tzinfo=None).isoformat() + "Z"
    return value.isoformat() if isinstance(value, date) else value


def _text(value: Any) -> str | None:
    """A partition's value in the form of Delta's log."""
    return None if value is None else str(value)


@dataclass(slots=True)
class Staged:
    """The computed rows; and, where the engine has written them as files of the table, these files."""

    frame: DataFrame
    files: DataFiles | None = None
    committing: bool = False  # once set, only the table's log shows whether the table contains the files
