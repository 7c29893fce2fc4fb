"""Scans one log file once, to its end: its content, or why it cannot be used; no Spark."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.compressed import UNREADABLE, is_compressed, opened
from pipelines.ingest.discover.fingerprint import TextHash, bytes_sha256, stamp_of
from pipelines.ingest.discover.pieces import CUT_BYTES, ReadState, counted_pieces, footer_of, lines_of
from pipelines.ingest.parse.columns import check_columns, empty_batch, parquet_names, time_kind
from pipelines.ingest.parse.mapping import LogMapping
from pipelines.ingest.parse.mind_fields import MIND_COLUMNS
from schemas.errors import InputError

Fault = Callable[[bytes], str | None]  # why a line could not be an impression, None if it could
PathsOf = Callable[[Iterable[str]], Mapping[str, tuple[str, ...]]]  # names of a file's columns -> field -> path
Cuts = tuple[tuple[int, int], ...]  # where a file can be cut: (first byte or row group, line), ascending
IsComplete = Callable[[bytes], bool]  # whether a line without its line end cannot be the beginning of a longer one


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanOptions:
    """How a file is scanned."""

    final: bool = False  # its last line is complete even without a line end
    mark: int = 0  # bytes of its text that were read before


DEFAULT_SCAN = ScanOptions()


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """The content of a file when it was scanned; it may have grown since."""

    bytes: int  # up to the end of its last complete line
    lines: int
    first_line_sha256: str
    whole_lines: bool  # the last of them has a line end
    text_bytes: int  # of these lines
    text_sha256: str  # of these lines (fingerprint.py)
    stamp: str | None
    begins: str | None = None  # the hash of the text that was read before, as it is now
    waiting: int = 0  # bytes of a line after them without a line end, which may grow
    types: tuple[tuple[str, str], ...] = ()  # of a Parquet file: the kind of its times (`columns.time_kind`)
    cuts: Cuts = ()


def scan_lines(
    path: Path, fault_of: Fault, is_complete: IsComplete, options: ScanOptions = DEFAULT_SCAN
) -> Content | None:
    """The content of a file of lines; None if it has none. InputError if it is unreadable or holds no impression.

    A last line without a line end counts if it is complete: by `is_complete`, in a compressed file, or if the scan is
    final.
    """
    state = ReadState(TextHash(options.mark))
    try:
        stamp = stamp_of(path)
        with opened(path) as stream:
            chunks = counted_pieces(stream, state)
            first, good = _first_line(chunks, fault_of)
            deque(chunks, maxlen=0)  # a truncated compressed file raises an error only at its end
            size = path.stat().st_size if is_compressed(path.name) else stream.tell()
    except UNREADABLE as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise InputError(f"cannot be read ({reason}). Fetch it again, or take it out of the folder") from error
    if first is None:
        return None
    taken = bool(state.tail) and (options.final or is_compressed(path.name) or is_complete(bytes(state.tail)))
    if not good and (state.ends or taken):
        raise InputError(
            f"no line is an impression of this format. Its first line {fault_of(first)}. "
            "Check that this is the right file, or take it out of the folder"
        )
    return Content(
        bytes=size if taken else size - len(state.tail),
        lines=state.ends + taken,
        first_line_sha256=hashlib.sha256(first).hexdigest(),
        whole_lines=not taken,
        text_bytes=state.text.bytes if taken else state.text.ended_bytes,
        text_sha256=state.text.sha256 if taken else state.text.ended_sha256,
        stamp=stamp,
        begins=state.text.at_mark,
        waiting=0 if taken else len(state.tail),
        cuts=() if is_compressed(path.name) else tuple(state.cuts),
    )


def mind_fault(line: bytes) -> str | None:
    """Why a line cannot be one of MIND's behaviors.tsv; None if it can."""
    columns = line.count(b"\t") + 1
    return None if columns == MIND_COLUMNS else f"has {columns} tab-separated columns instead of {MIND_COLUMNS}"


def scan_parquet(path: Path, paths_of: PathsOf, mapping: LogMapping) -> Content | None:
    """The content of a Parquet file that has the columns of the mapping; None if it has no rows. InputError if it is
    unreadable or lacks a column.
    """
    try:
        stamp = stamp_of(path)
        with path.open("rb") as stream:
            file = pq.ParquetFile(stream)
            empty, columns = empty_batch(file.schema_arrow), paths_of(file.schema_arrow.names)
            check_columns(empty, columns, mapping)
            rows = 0
            for batch in file.iter_batches(columns=parquet_names(columns)):  # any page may be damaged
                check_columns(batch, columns, mapping)
                rows += len(batch)
            footer, cuts = footer_of(stream), _row_group_cuts(file.metadata)
        sha256 = bytes_sha256(path)
    except (OSError, pa.ArrowException) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error).splitlines()[0]
        raise InputError(f"is no readable Parquet file ({reason}). Fetch it again, or take it out") from error
    if rows == 0:
        return None
    size = path.stat().st_size
    kinds = (("time", time_kind(empty, columns["time"], mapping)),) if "time" in columns else ()
    return Content(
        bytes=size,
        lines=rows,
        first_line_sha256=footer,
        whole_lines=True,
        text_bytes=size,
        text_sha256=sha256,
        stamp=stamp,
        begins=sha256,
        types=kinds,
        cuts=cuts,
    )


def _row_group_cuts(footer: pq.FileMetaData) -> Cuts:
    """Row groups that begin approximately CUT_BYTES apart."""
    cuts, size, row = [], 0, 0
    for at in range(footer.num_row_groups):
        group = footer.row_group(at)
        if size >= CUT_BYTES:
            cuts.append((at, row))
            size = 0
        size += group.total_byte_size
        row += group.num_rows
    return tuple(cuts)


def _first_line(chunks: Iterator[bytes], fault_of: Fault) -> tuple[bytes | None, bool]:
    """The first line, None if there is none, and whether any line could be an impression; reads until one could."""
    first: bytes | None = None
    for line in lines_of(chunks):
        first = line if first is None else first
        if fault_of(line) is None:
            return first, True
    return first, False
