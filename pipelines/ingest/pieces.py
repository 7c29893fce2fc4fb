"""A file of lines read piece by piece: its lines counted and hashed as they pass; what older lakes know of a file."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from gzip import GzipFile
from io import BufferedReader
from pathlib import Path

from pipelines.ingest.fingerprint import TextHash
from schemas.errors import InputError

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


def opened(path: Path) -> GzipFile | BufferedReader:
    """The file's text as bytes: unpacked where its name says that it is packed, as Spark does."""
    return gzip.open(path) if is_packed(path) else path.open("rb")


def is_packed(path: Path) -> bool:
    """Whether the file is a gzip by its name."""
    return path.suffix == ".gz"


def refuse_other_encoding(start: bytes) -> None:
    """InputError if a file of text that begins so is UTF-16 or UTF-32, with a byte order mark or without."""
    marked = (name for name, mark in _WIDE_MARKS if start.startswith(mark))
    name = next(marked, None) or _WIDE_ZEROS.get("".join("0" if byte == 0 else "x" for byte in start[:4]))
    if name is not None:
        raise InputError(f"is {name}, and logs are read as UTF-8. Write it anew, such as by iconv -f {name} -t UTF-8")


@dataclass(slots=True)
class Count:
    """What passed of a file so far."""

    text: TextHash = field(default_factory=TextHash)
    ends: int = 0
    tail: bytearray = field(default_factory=bytearray)  # what came since the last line end


def counted(stream: GzipFile | BufferedReader, count: Count) -> Iterator[bytes]:
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
        count.text.add(piece, last)
        if last:
            count.tail.clear()
        count.tail += piece[last:]
        if len(count.tail) > _LONGEST_LINE:
            raise InputError(f"has a line of over {_LONGEST_LINE >> 20} MiB. Check that this is a log with line ends")
        yield piece


def lines_of(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """The lines of these pieces, without their ends."""
    carry = b""
    for chunk in chunks:
        lines = (carry + chunk).splitlines()
        carry = b"" if chunk[-1:] in (b"\n", b"\r", b"") else lines.pop()
        yield from lines
    if carry:
        yield carry


def text_sha256(path: Path, size: int) -> str | None:
    """The hash of the first `size` bytes of a readable file's text; None if it is shorter."""
    count = Count(TextHash(size))
    with opened(path) as stream:
        chunks = counted(stream, count)
        while count.text.at_mark is None and next(chunks, None) is not None:
            pass
    return count.text.at_mark


def start_of(path: Path) -> str:
    """The sha256 of a readable file's first line, or of a Parquet file's footer: all that older lakes know of it."""
    if path.suffix == ".parquet":
        with path.open("rb") as stream:
            return footer_of(stream)
    with opened(path) as stream:
        return hashlib.sha256(next(lines_of(counted(stream, Count())), b"")).hexdigest()


def begins_with(path: Path, size: int, sha256: str) -> bool:
    """Whether the first `size` bytes of a plain file are one line's beginning with that hash."""
    with path.open("rb") as stream:
        start = stream.read(size).removeprefix(_BYTE_ORDER_MARK)
    return hashlib.sha256(start).hexdigest() == sha256


def footer_of(stream: BufferedReader) -> str:
    """Of the last bytes, which hold the number of rows and the bounds of their values."""
    stream.seek(-min(stream.seek(0, 2), _FOOTER_BYTES), 2)
    return hashlib.sha256(stream.read()).hexdigest()
