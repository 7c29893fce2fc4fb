"""One log file looked at, to its end and once: what it holds, or why it cannot be used; no Spark."""

from __future__ import annotations

import gzip
import hashlib
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from gzip import GzipFile
from io import BufferedReader
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.ingest.columns import check_columns, empty_batch, parquet_names, time_kind
from pipelines.ingest.mapping import LogMapping
from schemas.errors import InputError

MIND_COLUMNS = 5
Fault = Callable[[bytes], str | None]  # why a line could not be an impression, None if it could
PathsOf = Callable[[Iterable[str]], Mapping[str, tuple[str, ...]]]  # names of a file's columns -> field -> path
_CHUNK_BYTES = 1 << 20
_FOOTER_BYTES = 1 << 16
_LONGEST_LINE = 64 << 20  # a longer one is no log line, and would not fit into a worker's memory
_WIDE_MARKS = (
    ("UTF-32", b"\xff\xfe\0\0"),
    ("UTF-32", b"\0\0\xfe\xff"),
    ("UTF-16", b"\xff\xfe"),
    ("UTF-16", b"\xfe\xff"),
)
_WIDE_ZEROS = {"x0x0": "UTF-16", "0x0x": "UTF-16", "x000": "UTF-32", "000x": "UTF-32"}  # of ASCII, without a mark
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"  # Spark's reader drops it too


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """What a file held when it was looked at: it may grow in the meantime."""

    bytes: int
    lines: int
    first_line_sha256: str
    whole_lines: bool
    types: tuple[tuple[str, str], ...] = ()  # of a Parquet file: what becomes of its times


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


def refuse_other_encoding(start: bytes) -> None:
    """InputError if a file of text that begins so is UTF-16 or UTF-32, with a byte order mark or without."""
    marked = (name for name, mark in _WIDE_MARKS if start.startswith(mark))
    name = next(marked, None) or _WIDE_ZEROS.get("".join("0" if byte == 0 else "x" for byte in start[:4]))
    if name is not None:
        raise InputError(f"is {name}, and logs are read as UTF-8. Write it anew, such as by iconv -f {name} -t UTF-8")


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


def mind_fault(line: bytes) -> str | None:
    """Whether a line could be one of MIND's behaviors.tsv."""
    columns = line.count(b"\t") + 1
    return None if columns == MIND_COLUMNS else f"has {columns} tab-separated columns instead of {MIND_COLUMNS}"


def scan_parquet(path: Path, paths_of: PathsOf, mapping: LogMapping) -> Content | None:
    """The content of a Parquet file that has the columns of the mapping, None if it has no rows."""
    try:
        with path.open("rb") as stream:
            file = pq.ParquetFile(stream)
            empty, columns = empty_batch(file.schema_arrow), paths_of(file.schema_arrow.names)
            check_columns(empty, columns, mapping)
            rows = 0
            for batch in file.iter_batches(columns=parquet_names(columns)):  # a page may be broken anywhere
                check_columns(batch, columns, mapping)
                rows += len(batch)
            footer = _footer(stream)
    except (OSError, pa.ArrowException) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error).splitlines()[0]
        raise InputError(f"is no readable Parquet file ({reason}). Fetch it again, or take it out") from error
    if rows == 0:
        return None
    kinds = (("time", time_kind(empty, columns["time"], mapping)),) if "time" in columns else ()
    return Content(
        bytes=path.stat().st_size,
        lines=rows,
        first_line_sha256=footer,
        whole_lines=True,
        types=kinds,
    )


@dataclass(slots=True)
class _Count:
    ends: int = 0
    unended: int = 0  # bytes since the last line end


def _counted(stream: GzipFile | BufferedReader, count: _Count) -> Iterator[bytes]:
    """Pieces of the file, without its byte order mark, that never part a carriage return from its line feed."""
    mark: bytes = _BYTE_ORDER_MARK
    while chunk := stream.read(_CHUNK_BYTES):
        if mark:
            refuse_other_encoding(chunk)
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


def _footer(stream: BufferedReader) -> str:
    """Of the last bytes, which hold the number of rows and the bounds of their values."""
    stream.seek(-min(stream.seek(0, 2), _FOOTER_BYTES), 2)
    return hashlib.sha256(stream.read()).hexdigest()
