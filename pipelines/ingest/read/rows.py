"""Rows of Parquet and Delta logs -> RAW_LOG lines: each row becomes one JSON line of our own fields only.

Tasks read rows by pyarrow: it knows more types than the engines do (nanoseconds, lists of a fixed size), and ignores
the content of columns that are not read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyspark.sql import DataFrame, SparkSession, Window
from pyspark.sql import functions as F

from pipelines.ingest.discover.formats import EBNERD, EBNERD_HISTORY, ebnerd_paths
from pipelines.ingest.discover.log_file import LogFile
from pipelines.ingest.discover.scan import PathsOf
from pipelines.ingest.discover.spread import Read, frame_of, in_shares
from pipelines.ingest.discover.table_source import TableFile, table_files
from pipelines.ingest.parse.columns import columns_of, parquet_names
from pipelines.ingest.parse.mapping import FIELDS, LogMapping
from pipelines.ingest.read.json_rows import iso_of, json_lines, json_members, json_of
from schemas.storage.paths import path_of, text_of

_LINES = "file string, position long, line binary"
_ROWS = 4096  # in one batch: a user's history may have thousands of ids
_EVERY_ROW = 1 << 62


@dataclass(frozen=True, slots=True)
class RowPiece:
    """The part of a Parquet file, or all of it, that one task reads."""

    file: str
    path: str
    groups: tuple[int, int | None]  # row groups: the first one, and the one after the last
    first: int  # the number of the first row of these
    skip: int  # rows before this one were read before
    end: int  # rows from this one on were added after the inspection
    size: int  # approximate bytes


def parquet_rows(spark: SparkSession, files: list[LogFile]) -> DataFrame:
    """The rows of Parquet files as lines, by their mapping."""
    mapping = _mapping(files)
    read = partial(_parquet_lines, mapping=mapping)
    return _frame(spark, [piece for file in files for piece in _pieces_of(file)], read, _LINES)


def delta_rows(spark: SparkSession, files: list[LogFile]) -> DataFrame:
    """The rows of files of a Delta table as lines, by their mapping; without rows that the table has deleted."""
    mapping = _mapping(files)
    stored = table_files(files)
    shares = in_shares(spark, stored, [file.stored.bytes for file in stored])
    return frame_of(spark, partial(_delta_lines, mapping=mapping), shares, _LINES)


def ebnerd_rows(spark: SparkSession, files: list[LogFile]) -> DataFrame:
    """EB-NeRD's impressions as lines, each with its user's history; without gender, postcode, age and other columns."""
    pieces = [piece for file in files for piece in _pieces_of(file)]
    shown = _frame(spark, pieces, _ebnerd_members, "file string, position long, user_id string, members string")
    joined = shown.join(_histories(spark, files), ["file", "user_id"], how="left")
    history = F.coalesce(F.col("history"), F.lit("[]"))
    line = F.concat(F.lit('{"history":'), history, F.col("members"), F.lit("}")).cast("binary")
    return joined.select("file", "position", line.alias("line"))


def _histories(spark: SparkSession, files: list[LogFile]) -> DataFrame:
    """One history for each user of a file, so that a join adds no row: the longest, and of several the greatest."""
    pieces = []
    for file in files:
        path = file.path.with_name("history.parquet")
        pieces.append(RowPiece(file.name, text_of(path), (0, None), 0, 0, _EVERY_ROW, path.stat().st_size))
    histories = _frame(spark, pieces, _ebnerd_histories, "file string, user_id string, length long, history string")
    best = Window.partitionBy("file", "user_id").orderBy(F.desc("length"), F.desc("history"))
    kept = histories.withColumn("_rank", F.row_number().over(best)).where(F.col("_rank") == 1)
    return kept.select("file", "user_id", "history")


def _pieces_of(file: LogFile) -> list[RowPiece]:
    """The file cut where its inspection found row groups, without pieces that were read before."""
    begins, ends = [(0, 0), *file.cuts], [*file.cuts, (None, file.lines)]
    size = file.bytes // len(begins)
    return [
        RowPiece(file.name, text_of(file.path), (start, stop), first, file.skip, end, size)
        for (start, first), (stop, end) in zip(begins, ends, strict=True)
        if end > file.skip
    ]


def _frame(spark: SparkSession, pieces: list[RowPiece], read: Read[RowPiece], schema: str) -> DataFrame:
    return frame_of(spark, read, in_shares(spark, pieces, [piece.size for piece in pieces]), schema)


def _parquet_lines(pieces: Sequence[RowPiece], *, mapping: LogMapping) -> Iterator[pa.RecordBatch]:
    for place, rows in parquet_batches(pieces, paths_of=lambda _: mapping.paths, mapping=mapping):
        yield _batch(place | {"line": json_lines(fields_of(rows, mapping))})


def _delta_lines(files: Sequence[TableFile], *, mapping: LogMapping) -> Iterator[pa.RecordBatch]:
    for file in files:
        position = 0
        for batch in file.batches(mapping):
            line = json_lines(fields_of(columns_of(batch, mapping.paths, mapping), mapping))
            yield _batch(_place(file.stored.name, position, len(batch)) | {"line": line})
            position += len(batch)


def _ebnerd_members(pieces: Sequence[RowPiece]) -> Iterator[pa.RecordBatch]:
    for place, rows in parquet_batches(pieces, paths_of=ebnerd_paths, mapping=EBNERD):
        fields = fields_of(rows, EBNERD)
        del fields["history"]  # comes from another file
        yield _batch(place | {"user_id": rows.column("user_id"), "members": json_members(fields)})


def _ebnerd_histories(pieces: Sequence[RowPiece]) -> Iterator[pa.RecordBatch]:
    for place, rows in parquet_batches(pieces, paths_of=lambda _: EBNERD_HISTORY, mapping=EBNERD):
        history = rows.column("history")
        length = pc.list_value_length(history).cast(pa.int64())
        columns = {"user_id": rows.column("user_id"), "length": length, "history": json_of(history)}
        yield _batch({"file": place["file"]} | columns)


def parquet_batches(
    pieces: Sequence[RowPiece], *, paths_of: PathsOf, mapping: LogMapping
) -> Iterator[tuple[dict[str, pa.Array], pa.RecordBatch]]:
    """In a task: the places and the fields of the rows of each piece from `skip` on and before `end`."""
    for piece in pieces:
        with path_of(piece.path).open("rb") as stream:
            file = pq.ParquetFile(stream)
            paths = paths_of(file.schema_arrow.names)
            start, stop = piece.groups
            groups = list(range(start, file.num_row_groups if stop is None else stop))
            position = piece.first
            for batch in file.iter_batches(_ROWS, row_groups=groups, columns=parquet_names(paths)):
                first, end = max(piece.skip - position, 0), min(piece.end - position, len(batch))
                if first < end:
                    rows = columns_of(batch.slice(first, end - first), paths, mapping)
                    yield _place(piece.file, position + first, len(rows)), rows
                position += len(batch)


def fields_of(rows: pa.RecordBatch, mapping: LogMapping) -> dict[str, pa.Array]:
    """The fields of a line, in their order: our own names and the mapping's extra columns."""
    found = dict(zip(rows.schema.names, rows.columns, strict=True))
    fields = {"history": pa.array([[]] * len(rows), pa.list_(pa.string()))}
    fields |= {name: found[name] for name in FIELDS if name in found}
    if mapping.clicked_as == "id" and "clicked" in fields:
        fields["clicked"] = _single_lists(fields["clicked"])
    if pa.types.is_timestamp(fields["time"].type):
        fields["time"] = iso_of(fields["time"], mapping.time_zone)
    return fields | {name: found[name] for name in mapping.extra}


def _single_lists(values: pa.Array) -> pa.Array:
    """Each value as a list of one; null stays null."""
    known = np.asarray(pc.is_valid(values))
    starts = np.append(0, np.cumsum(known)).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(starts, mask=np.append(~known, False)), values.drop_null())


def _place(file: str, first: int, length: int) -> dict[str, pa.Array]:
    return {"file": pa.repeat(file, length), "position": pa.array(np.arange(first, first + length))}


def _batch(columns: Mapping[str, pa.Array]) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays(list(columns.values()), list(columns))


def _mapping(files: list[LogFile]) -> LogMapping:
    assert files[0].mapping is not None, "rows are read by a mapping"
    return files[0].mapping
