"""Reads a file of lines in pieces, counting and hashing its lines on the way; and the hashes that older lakes hold."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from io import BufferedReader
from itertools import chain
from pathlib import Path

from pipelines.compressed import Text, opened
from pipelines.ingest.discover.fingerprint import TextHash
from schemas.errors import InputError

CUT_BYTES = 8 << 20  # of an uncompressed file: approximately the least that one task reads
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
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def refuse_other_encoding(start: bytes) -> None:
    """InputError if the text file with this beginning is UTF-16 or UTF-32, with a byte order mark or without.

    A file in which only the first line is such text is read: parsing refuses that line alone.
    """
    marked = (name for name, mark in _WIDE_MARKS if start.startswith(mark))
    name = next(marked, None) or _WIDE_ZEROS.get("".join("0" if byte == 0 else "x" for byte in start[:4]))
    if name is not None and not any(len(line) > 8 and 0 not in line for line in start.split(b"\n")):
        raise InputError(f"is {name}, and logs are read as UTF-8. Convert it, such as by iconv -f {name} -t UTF-8")


@dataclass(slots=True)
class ReadState:
    """Hash, lines and cuts of the part of a file that was read so far."""

    text: TextHash = field(default_factory=TextHash)
    ends: int = 0
    tail: bytearray = field(default_factory=bytearray)  # the text after the last line end
    read: int = 0  # bytes of the stream
    cuts: list[tuple[int, int]] = field(default_factory=list)  # (byte, line) where a line begins, CUT_BYTES apart


def counted_pieces(stream: Text, state: ReadState) -> Iterator[bytes]:
    """Pieces of the file, without its byte order mark, that never split a carriage return from its line feed."""
    for chunk in pieces_of(stream):
        if not state.read:
            refuse_other_encoding(chunk)
        piece = chunk if state.read else chunk.removeprefix(_BYTE_ORDER_MARK)
        state.read += len(chunk)
        returns = piece.count(b"\r") if b"\r" in piece else 0
        ends = piece.count(b"\n") + (returns - piece.count(b"\r\n") if returns else 0)
        last = _behind_last_end(piece)
        state.ends += ends
        state.text.add(piece, last)
        if last:
            state.tail.clear()
            begins = state.read - len(piece) + last
            if begins >= CUT_BYTES + (state.cuts[-1][0] if state.cuts else 0):
                state.cuts.append((begins, state.ends))
        state.tail += piece[last:]
        if len(state.tail) > _LONGEST_LINE:
            raise InputError(f"has a line of over {_LONGEST_LINE >> 20} MiB. Check that this is a log with line ends")
        yield piece


def pieces_of(stream: Text, size: int | None = None) -> Iterator[bytes]:
    """Pieces of the next `size` bytes, or of all, that never split a carriage return from its line feed."""
    left = sys.maxsize if size is None else size
    while chunk := stream.read(min(_CHUNK_BYTES, left)):
        while chunk.endswith(b"\r") and len(chunk) < left and (more := stream.read(1)):
            chunk += more
        left -= len(chunk)
        yield chunk


def text_from(stream: Text, start: int, stop: int | None) -> Iterator[bytes]:
    """Pieces of the text from byte `start` up to `stop`, without a byte order mark."""
    if start:
        stream.seek(start)
    pieces = pieces_of(stream, None if stop is None else stop - start)
    first = next(pieces, b"")
    yield first if start else first.removeprefix(_BYTE_ORDER_MARK)
    yield from pieces


def lists_of_lines(pieces: Iterable[bytes]) -> Iterator[list[bytes]]:
    """The lines of these pieces, without their ends; one list has the lines that end in one piece."""
    begun: list[bytes] = []
    for piece in pieces:
        last = _behind_last_end(piece)
        if last:
            begun.append(piece[:last])
            text, begun = b"".join(begun), []
            yield text.splitlines() if b"\r" in text else text[:-1].split(b"\n")
        if last < len(piece):
            begun.append(piece[last:])
    if begun:
        yield [b"".join(begun)]


def lines_of(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The lines of these pieces, without their ends."""
    return chain.from_iterable(lists_of_lines(pieces))


def _behind_last_end(piece: bytes) -> int:
    feed = piece.rfind(b"\n")
    return max(feed, piece.rfind(b"\r", feed + 1)) + 1


def text_sha256(path: Path, size: int) -> str | None:
    """The hash of the first `size` bytes of a readable file's text; None if it is shorter."""
    state = ReadState(TextHash(size))
    with opened(path) as stream:
        chunks = counted_pieces(stream, state)
        while state.text.at_mark is None and next(chunks, None) is not None:
            pass
    return state.text.at_mark


def start_of(path: Path) -> str:
    """The SHA-256 of a readable file's first line, or of a Parquet file's footer: all that older lakes hold of it."""
    if path.suffix == ".parquet":
        with path.open("rb") as stream:
            return footer_of(stream)
    with opened(path) as stream:
        return hashlib.sha256(next(lines_of(counted_pieces(stream, ReadState())), b"")).hexdigest()


def begins_with(path: Path, size: int, sha256: str) -> bool:
    """Whether the first `size` bytes of an uncompressed file have this hash."""
    with path.open("rb") as stream:
        start = stream.read(size).removeprefix(_BYTE_ORDER_MARK)
    return hashlib.sha256(start).hexdigest() == sha256


def footer_of(stream: BufferedReader) -> str:
    """The SHA-256 of the last bytes, which hold the number of rows and the bounds of their values."""
    stream.seek(-min(stream.seek(0, 2), _FOOTER_BYTES), 2)
    return hashlib.sha256(stream.read()).hexdigest()
