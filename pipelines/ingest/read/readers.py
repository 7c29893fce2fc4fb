"""First step of ingest: log files -> RAW_LOG rows, each with the unchanged bytes of a line and its place."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from pipelines.compressed import is_compressed, opened
from pipelines.ingest.discover.json_arrays import elements, is_array
from pipelines.ingest.discover.log_file import UNPACKED, LogFile
from pipelines.ingest.discover.pieces import lists_of_lines, text_from
from pipelines.ingest.discover.spread import frame_of, in_shares
from pipelines.ingest.parse.mapping import JSONL
from pipelines.ingest.read.rows import delta_rows, ebnerd_rows, parquet_rows
from schemas.errors import InputError
from schemas.storage.paths import path_of, text_of

_RECORDS = 10_000  # of an array, in one batch
_LINES = "file string, position long, line binary"
Reader = Callable[[SparkSession, list[LogFile]], DataFrame]


def raw_lines(spark: SparkSession, files: list[LogFile]) -> DataFrame:
    """(file, position, line, format) of the lines of `files`, which have one format, that no run has read.

    A line feed, a carriage return or both end a line. Lines that were added after the file was inspected are left to
    the next run. Each action on the frame opens the files again: keep the frame if it is needed twice.
    """
    paths = [file.path for file in files]
    if len(set(paths)) < len(paths):
        twice = [file.name for file in files if paths.count(file.path) > 1]
        raise InputError(f"{' and '.join(twice[:2])} are one file. Take one of the two names out of the folder")
    lines = _reader(files[0])(spark, files)
    return lines.select("file", "position", "line", F.lit(files[0].lines_format).alias("format"))


def _reader(file: LogFile) -> Reader:
    if file.format == "ebnerd":
        return ebnerd_rows
    kind = JSONL if file.mapping is None else file.mapping.format
    return {JSONL: _text_lines, "parquet": parquet_rows, "delta": delta_rows}[kind]


@dataclass(frozen=True, slots=True)
class _Piece:
    """The part of a text file, or all of it, that one task reads."""

    file: str
    path: str
    start: int  # byte of an uncompressed file
    stop: int | None  # byte; None: up to its end
    first: int  # the number of the line that begins at `start`
    skip: int  # lines before this one were read before
    end: int  # lines from this one on were added after the inspection

    @property
    def size(self) -> int:
        """Approximate bytes of text; 0 if only reading the file shows them."""
        return 0 if self.stop is None else self.stop - self.start


def _text_lines(spark: SparkSession, files: list[LogFile]) -> DataFrame:
    """The lines of text files, and the records of files that are one JSON array."""
    pieces = [piece for file in files for piece in _pieces_of(file)]
    sizes = {file.name: file.bytes * UNPACKED for file in files}
    shares = in_shares(spark, pieces, [piece.size or sizes[piece.file] for piece in pieces])
    return frame_of(spark, _read, shares, _LINES)


def _pieces_of(file: LogFile) -> list[_Piece]:
    """The file cut where its inspection counted lines, without pieces that were read before."""
    path = text_of(file.path)
    if is_compressed(file.path.name):
        return [_Piece(file.name, path, 0, None, 0, file.skip, file.lines)]
    inside = [cut for cut in file.cuts if cut[1] < file.lines]
    cuts = [(0, 0), *inside, (file.bytes, file.lines)]
    return [
        _Piece(file.name, path, start, stop, first, file.skip, end)
        for (start, first), (stop, end) in pairwise(cuts)
        if end > file.skip
    ]


def _read(pieces: Sequence[_Piece]) -> Iterator[pa.RecordBatch]:
    """In a task: the lines of each piece from `skip` on and before `end`, in batches that do not grow with the file."""
    for piece in pieces:
        path = path_of(piece.path)
        if is_array(path):
            yield from _lines(piece, _in_lists(elements(path)))
        else:
            with opened(path) as stream:
                yield from _lines(piece, lists_of_lines(text_from(stream, piece.start, piece.stop)))


def _lines(piece: _Piece, lists: Iterator[list[bytes]]) -> Iterator[pa.RecordBatch]:
    position = piece.first
    for lines in lists:
        first, end = max(piece.skip - position, 0), piece.end - position
        kept = lines[first:end] if first or end < len(lines) else lines
        if kept:
            at = position + first
            columns = {
                "file": pa.repeat(piece.file, len(kept)),
                "position": pa.array(np.arange(at, at + len(kept))),
                "line": pa.array(kept, pa.binary()),
            }
            yield pa.RecordBatch.from_arrays(list(columns.values()), list(columns))
        position += len(lines)
        if position >= piece.end:
            return


def _in_lists(records: list[bytes]) -> Iterator[list[bytes]]:
    each = iter(records)
    while some := list(islice(each, _RECORDS)):
        yield some
