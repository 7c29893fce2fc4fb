"""Data files of a table that the embedded engine writes itself, and what Delta's log has to say of them.

delta-rs writes the rows of one stream, which would pass through this process. The engine writes them where they are
made, on all cores; delta-rs then commits the files as they are.
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

_PART = "feedloop_part"  # of a file: a hash of its partition, and of its span of time
_EXACT_BYTES = 64  # of a text in a file's statistics: a longer one may have been cut off there


@dataclass(frozen=True, slots=True)
class DataFiles:
    """Files below a table's folder that no version of the table holds yet."""

    folder: Place
    frame: DataFrame  # their rows
    adds: list[AddAction]
    rows: int

    def remove(self) -> None:
        """They are gone."""
        remove_folder(self.folder)


def write_files(table: Table, at: DeltaTable, path: str, rows: DataFrame, times: DataFrame | None = None) -> DataFiles:
    """Write the rows, as rows of the table at `path` (null in columns that they lack), and check them by its rules.

    Each file holds rows of one partition and, where the table's files are ordered by time, of one span of it. The
    partitions' columns stand in the files too: their values are read from there.

    NullError or RuleError, and no file is left, where a row is not as the table asks.
    """
    rows = as_stored(rows, at, path)
    name = uuid4().hex
    folder = Place.of(f"{path}/{name}")
    part = [*at.metadata().partition_columns]
    if table.ordered_by is not None:
        rows = with_spans(table, at, rows, times)
        part.append(SPAN)
    # Not xxhash64: the embedded engine's fails where a file that it reads holds one value alone.
    texts = [F.coalesce(F.col(f"`{column}`").cast("string"), F.lit("\x02")) for column in part]
    parted = rows.withColumn(_PART, F.md5(F.concat_ws("\x01", *texts)))
    together = parted if table.ordered_by is None else parted.repartition(_PART)
    try:
        together.drop(SPAN).write.option("compression", "zstd").partitionBy(_PART).parquet(plain_uri(path, name))
        frame = files_frame(rows.drop(SPAN), plain_uri(path, name))
        _check(at, frame)
        adds = [
            _added(at, f"{name}/{below_it}", folder / below_it, entry.bytes)
            for below_it, entry in below(folder)
            if below_it.endswith(".parquet")
        ]
    except BaseException:
        remove_folder(folder)
        raise
    found = [add for add in adds if add is not None]
    return DataFiles(folder, frame, found, sum(json.loads(add.stats)["numRecords"] for add in found))


def as_stored(rows: DataFrame, at: DeltaTable, path: str) -> DataFrame:
    """The rows with every column of the table, in its types. The union names the elements of lists as the table does:
    the engine reads no table in whose files they have another name, and no cast gives them this one.
    """
    stored = delta_frame(rows.sparkSession, path, version=at.version())
    return stored.limit(0).unionByName(rows, allowMissingColumns=True)


def _check(at: DeltaTable, rows: DataFrame) -> None:
    """NullError or RuleError, unless the rows are as the table asks."""
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


def _added(at: DeltaTable, name: str, place: Place, size: int) -> AddAction | None:
    """What Delta's log says of a file below the table's folder; None for one without rows."""
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
    """Rows, and of each column that has them in every row group the least and the greatest value and its nulls."""
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
    """Whether a bound of a file's statistics is a value that stands in the file, and JSON can hold it."""
    if isinstance(bound, str):
        return len(bound.encode()) < _EXACT_BYTES
    return not isinstance(bound, bytes) and (not isinstance(bound, float) or math.isfinite(bound))


def _logged(value: Any) -> Any:
    """A bound as delta-rs writes it."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).replace(tzinfo=None).isoformat() + "Z"
    return value.isoformat() if isinstance(value, date) else value


def _text(value: Any) -> str | None:
    """A partition's value in Delta's log."""
    return None if value is None else str(value)
