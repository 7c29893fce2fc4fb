"""A Delta table as a source of logs: the files of its current version, and their rows."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipelines.ingest.discover.log_file import LogFile
from pipelines.ingest.discover.previous_reads import Known
from pipelines.ingest.discover.sources import Found
from pipelines.ingest.discover.table_log import StoredFile, open_file, stored_name, table_log, table_root
from pipelines.ingest.parse.columns import (
    TEXT,
    check_columns,
    empty_batch,
    flattened,
    lists_like,
    parquet_names,
    time_kind,
)
from pipelines.ingest.parse.mapping import EACH, LogMapping
from schemas.errors import InputError

_ROWS = 4096  # in one batch


def find_in_table(table: str, mapping: LogMapping, known: Mapping[str, Known]) -> Found:
    """The files of the table's current version that the lake lacks; other files there are ignored. InputError if that
    version is empty.
    """
    root = table_root(table)
    log = table_log(root)
    kind = _time_kind(log.schema, table, mapping)
    if not log.files:
        raise InputError(f"{table}: the Delta table has no rows in its current version")
    new = sorted((file for file in log.files if file.name not in known), key=lambda file: file.name)
    files = [
        LogFile(
            path=Path(root) / file.name,
            name=file.name,
            format="mapped",
            lines_format=mapping.of_rows(typed_time=kind != TEXT).as_format,
            bytes=file.bytes,
            lines=_rows_left(root, file),
            first_line_sha256=hashlib.sha256(file.path.encode()).hexdigest(),  # a table never writes a file again
            whole_lines=True,
            mapping=mapping,
            types=(("time", kind),),
            table=root,
            table_version=log.version,
        )
        for file in new
    ]
    return Found(files=[file for file in files if file.lines])


@dataclass(frozen=True, slots=True)
class TableFile:
    """A file of a table, as a task reads it."""

    root: str
    stored: StoredFile
    columns: pa.Schema  # the table's columns that are read

    def batches(self, mapping: LogMapping) -> Iterator[pa.RecordBatch]:
        """The rows that are not deleted, in the columns of the table that the mapping reads."""
        held = {name: path for name, path in mapping.paths.items() if path[0] not in self.stored.partition}
        names = parquet_names({name: _stored_path(self.columns, path) for name, path in held.items()})
        deleted, row = self.stored.deleted, 0
        with open_file(self.root, self.stored.name) as stream:
            for batch in pq.ParquetFile(stream).iter_batches(_ROWS, columns=names):
                rows = pa.RecordBatch.from_arrays([self._column(batch, f) for f in self.columns], self.columns.names)
                gone = np.isin(np.arange(row, row + len(rows)), deleted, assume_unique=True)
                yield rows.filter(pa.array(~gone)) if gone.any() else rows
                row += len(rows)

    def _column(self, batch: pa.RecordBatch, field: pa.Field) -> pa.Array:
        if field.name in self.stored.partition:
            return pa.repeat(pa.scalar(self.stored.partition[field.name], field.type), len(batch))
        return _field(dict(zip(batch.schema.names, batch.columns, strict=True)), field, len(batch))


def table_files(files: Sequence[LogFile]) -> list[TableFile]:
    """The data that tasks need to read these files of one table, as of the version that lists them."""
    log = table_log(files[0].table, version=files[0].table_version)
    mapping = files[0].mapping
    assert mapping is not None, "rows of a table are read by a mapping"
    columns = _columns_read(log.schema, mapping)
    names = {file.name for file in files}
    return [TableFile(files[0].table, stored, columns) for stored in log.files if stored.name in names]


def _rows_left(root: str, file: StoredFile) -> int:
    """The number of rows of the file that are not deleted: counted in the file if the table's log does not state it."""
    rows = file.rows
    if rows is None:
        with open_file(root, file.name) as stream:
            rows = pq.ParquetFile(stream).metadata.num_rows
    return int(rows - len(file.deleted))


def _time_kind(schema: pa.Schema, table: str, mapping: LogMapping) -> str:
    """The kind of the time column (`columns.time_kind`). InputError if a column that the mapping reads is missing."""
    absent = [path[0] for path in mapping.paths.values() if path[0] not in schema.names]
    if absent:
        raise InputError(
            f"{table}: has no column {absent[0]}; its columns are {', '.join(schema.names)}. Names are compared "
            "exactly. Mend the mapping"
        )
    try:
        empty = empty_batch(_columns_read(schema, mapping))
        check_columns(empty, mapping.paths, mapping)
    except InputError as error:
        raise InputError(f"{table}: {error}") from error
    return time_kind(empty, mapping.paths["time"], mapping)


def _columns_read(schema: pa.Schema, mapping: LogMapping) -> pa.Schema:
    return pa.schema([schema.field(name) for name in dict.fromkeys(path[0] for path in mapping.paths.values())])


def _stored_path(fields: Iterable[pa.Field], path: tuple[str, ...]) -> tuple[str, ...]:
    """A path in the table's names -> the same path in its files' names."""
    if not path:
        return ()
    if path[0] == EACH:
        return (EACH, *_stored_path(fields, path[1:]))
    field = next(field for field in fields if field.name == path[0])
    return (stored_name(field), *_stored_path(_inside(field.type), path[1:]))


def _inside(kind: pa.DataType) -> list[pa.Field]:
    """The fields of a struct, or of the structs of a list."""
    if pa.types.is_list(kind):
        return _inside(kind.value_type)
    return [kind.field(at) for at in range(kind.num_fields)] if pa.types.is_struct(kind) else []


def _field(columns: Mapping[str, pa.Array], field: pa.Field, length: int) -> pa.Array:
    """The column in the table's form: nulls if the file is older than the field."""
    found = columns.get(stored_name(field))
    return pa.nulls(length, field.type) if found is None else _renamed(found, field.type)


def _renamed(values: pa.Array, kind: pa.DataType) -> pa.Array:
    fields = _inside(kind)
    if not fields:
        return values
    if pa.types.is_list(kind):
        return lists_like(values, _renamed(flattened(values), kind.value_type))
    found = {values.type.field(at).name: each for at, each in enumerate(values.flatten())}
    inner = [_field(found, field, len(values)) for field in fields]
    return pa.StructArray.from_arrays(inner, [field.name for field in fields], mask=pc.is_null(values))
