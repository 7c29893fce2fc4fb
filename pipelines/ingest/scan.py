"""One log file looked at, to its end and once: what it holds, or why it cannot be used; no Spark."""

from __future__ import annotations

import gzip
import hashlib
import json
import zlib
from collections import deque
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from gzip import GzipFile
from io import BufferedReader
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.ingest.mapping import FIELDS, LISTS, LogMapping
from schemas.errors import InputError

MIND_COLUMNS = 5
Fault = Callable[[bytes], str | None]  # why a line could not be an impression, None if it could
_CHUNK_BYTES = 1 << 20
_FOOTER_BYTES = 1 << 16
_LONGEST_LINE = 64 << 20  # a longer one is no log line, and would not fit into a worker's memory
_SHOWN = 8  # bytes of a strange line that are told: they may show its format, and hardly whose it is
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"  # Spark's reader drops it too


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """What a file held when it was looked at: it may grow in the meantime."""

    bytes: int
    lines: int
    first_line_sha256: str
    whole_lines: bool
    types: tuple[tuple[str, str], ...] = ()  # of a Parquet file: of each column that is read


def scan_lines(path: Path, fault_of: Fault) -> Content | None:
    """The content of a file of lines, None if it has none. InputError if it is unreadable or holds no impression."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as stream:
            size = path.stat().st_size
            count = _Count()
            chunks = _counted(stream, count)
            first = _first_line(chunks, fault_of)
            deque(chunks, maxlen=0)  # a gzip that was cut short tells so at its end only
            if path.suffix != ".gz":
                size = stream.tell()  # the file may have grown while it was read
    except (OSError, EOFError, zlib.error) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise InputError(f"cannot be read ({reason}). Fetch it again, or take it out of the folder") from error
    if first is None:
        return None
    return Content(
        bytes=size,
        lines=count.ends + (count.unended > 0),
        first_line_sha256=hashlib.sha256(first).hexdigest(),
        whole_lines=count.unended == 0,
    )


def start_of(path: Path) -> str:
    """The sha256 of a readable file's first line, or of a Parquet file's footer: what tells contents apart."""
    if path.suffix == ".parquet":
        with path.open("rb") as stream:
            return _footer(stream)
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as stream:
        return hashlib.sha256(next(_lines(_counted(stream, _Count())), b"")).hexdigest()


def begins_with(path: Path, size: int, sha256: str) -> bool:
    """Whether the first `size` bytes of a plain file are one line's beginning with that hash."""
    with path.open("rb") as stream:
        start = stream.read(size).removeprefix(_BYTE_ORDER_MARK)
    return hashlib.sha256(start).hexdigest() == sha256


def json_fault(mapping: LogMapping) -> Fault:
    """Whether a line could be an impression of the mapping: an object that has its columns."""
    wanted = [column for name, column in mapping.columns.items() if name != "clicked"]

    def fault(line: bytes) -> str | None:
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            return f"is not JSON: it begins with {line[:_SHOWN]!r}"
        if not isinstance(record, dict):
            return f"is no JSON object: it begins with {line[:_SHOWN]!r}"
        missing = [column for column in wanted if not _holds(record, column.split("."))]
        return f"has the fields {sorted(record)} and lacks {missing}" if missing else None

    return fault


def mind_fault(line: bytes) -> str | None:
    """Whether a line could be one of MIND's behaviors.tsv."""
    columns = line.count(b"\t") + 1
    return None if columns == MIND_COLUMNS else f"has {columns} tab-separated columns instead of {MIND_COLUMNS}"


def scan_parquet(path: Path, columns: dict[str, str], lists: Collection[str] = LISTS) -> Content | None:
    """The content of a Parquet file that has `columns` (field -> dotted name), None if it has no rows.

    `lists` are the fields that hold lists.
    """
    try:
        with path.open("rb") as stream:
            file = pq.ParquetFile(stream)
            types = {name: _type(file.schema_arrow, name, column, name in lists) for name, column in columns.items()}
            wanted = sorted(set(columns.values()))
            rows = sum(len(batch) for batch in file.iter_batches(columns=wanted))  # a page may be broken anywhere
            footer = _footer(stream)
    except (OSError, pa.ArrowException) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error).splitlines()[0]
        raise InputError(f"is no readable Parquet file ({reason}). Fetch it again, or take it out") from error
    if rows == 0:
        return None
    return Content(
        bytes=path.stat().st_size,
        lines=rows,
        first_line_sha256=footer,
        whole_lines=True,
        types=tuple((name, str(kind)) for name, kind in types.items()),
    )


@dataclass(slots=True)
class _Count:
    ends: int = 0
    unended: int = 0  # bytes since the last line end


def _counted(stream: GzipFile | BufferedReader, count: _Count) -> Iterator[bytes]:
    """Pieces of the file, without its byte order mark, that never part a carriage return from its line feed."""
    mark: bytes = _BYTE_ORDER_MARK
    while chunk := stream.read(_CHUNK_BYTES):
        while chunk.endswith(b"\r") and (more := stream.read(1)):
            chunk += more
        piece, mark = chunk.removeprefix(mark), b""
        returns = piece.count(b"\r")
        ends = piece.count(b"\n") + (returns - piece.count(b"\r\n") if returns else 0)
        last = max(piece.rfind(b"\n"), piece.rfind(b"\r")) + 1
        count.ends += ends
        count.unended = len(piece) - last + (0 if ends else count.unended)
        if count.unended > _LONGEST_LINE:
            raise InputError(f"has a line of over {_LONGEST_LINE >> 20} MiB. Check that this is a log with line ends")
        yield piece


def _first_line(chunks: Iterator[bytes], fault_of: Fault) -> bytes | None:
    """The first line, None if there is none. Reads on until a line could be an impression; InputError if none could."""
    first: bytes | None = None
    for line in _lines(chunks):
        first = line if first is None else first
        if fault_of(line) is None:
            return first
    if first is None:
        return None
    raise InputError(
        f"not one line is an impression of this format. Its first line {fault_of(first)}. "
        "Check that this is the right file, or take it out of the folder"
    )


def _lines(chunks: Iterator[bytes]) -> Iterator[bytes]:
    carry = b""
    for chunk in chunks:
        lines = (carry + chunk).splitlines()
        carry = b"" if chunk[-1:] in (b"\n", b"\r", b"") else lines.pop()
        yield from lines
    if carry:
        yield carry


def _holds(record: object, path: list[str]) -> bool:
    if not path:
        return True
    return isinstance(record, dict) and path[0] in record and _holds(record[path[0]], path[1:])


def _type(schema: pa.Schema, name: str, column: str, wants_list: bool) -> pa.DataType:
    """The type of a (dotted) column, if the field `name` can be read from it."""
    kind: pa.DataType = pa.struct(list(schema))
    for part in column.split("."):
        names = [kind.field(i).name for i in range(kind.num_fields)] if pa.types.is_struct(kind) else []
        if part not in names:
            raise InputError(f"has no column {column}; it has {', '.join(names)}. Mend the mapping")
        kind = kind.field(names.index(part)).type
    is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind)
    if wants_list and not (is_list and not pa.types.is_nested(kind.value_type)):
        raise InputError(f"its column {column} is {kind}, and {name} is read from a list. Mend the mapping")
    if name in FIELDS and not wants_list and pa.types.is_nested(kind):
        raise InputError(f"its column {column} is {kind}, and {name} is a single value. Mend the mapping")
    return kind


def _footer(stream: BufferedReader) -> str:
    """Of the last bytes, which hold the number of rows and the bounds of their values."""
    stream.seek(-min(stream.seek(0, 2), _FOOTER_BYTES), 2)
    return hashlib.sha256(stream.read()).hexdigest()
