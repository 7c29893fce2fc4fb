"""Opens compressed text files of logs and news as a stream of bytes; the name's suffix gives the compression.

Files are read piece by piece, so that a small file with a large content does not fill the memory; concatenated streams
of one kind are read as one. Other bytes after the last stream are an error, for they may be a broken stream.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from gzip import GzipFile
from io import BufferedReader
from pathlib import Path
from typing import Any, cast

import pyarrow as pa

Text = GzipFile | BufferedReader
UNREADABLE = (OSError, EOFError, zlib.error, lzma.LZMAError, pa.ArrowException)  # what reading a broken file raises

SUFFIXES = (".gz", ".zst", ".bz2", ".lz4", ".xz")
_CHUNK_BYTES = 1 << 20
_XZ_MEMORY = 128 << 20  # twice the need of `xz -9`: a header may ask for 4 GiB
_Unpacker = bz2.BZ2Decompressor | lzma.LZMADecompressor


def is_compressed(name: str) -> bool:
    """Whether a file is compressed, by its name."""
    return name.endswith(SUFFIXES)


def plain_name(name: str) -> str:
    """The file's name without the suffix of its compression."""
    return next((name.removesuffix(suffix) for suffix in SUFFIXES if name.endswith(suffix)), name)


def with_compressed(*names: str) -> tuple[str, ...]:
    """These names or globs, each followed by its compressed forms."""
    return tuple(name + suffix for name in names for suffix in ("", *SUFFIXES))


def shown(names: Sequence[str]) -> str:
    """These names or globs for a message: one name for those that differ only by compression."""
    either = [name for name in names if plain_name(name) != name and plain_name(name) in names]
    named = " and ".join(name for name in names if name not in either)
    return f"{named}, compressed or not" if either else named


@contextmanager
def opened(path: Path) -> Iterator[Text]:
    """The file's text as bytes, unpacked where it is compressed; any of UNREADABLE where it is broken."""
    with path.open("rb") as stream, _unpacked(stream, path.name) as text:
        yield text


def _unpacked(stream: BufferedReader, name: str) -> Text:
    match Path(name).suffix:
        case ".gz":
            return gzip.GzipFile(fileobj=stream)
        case ".zst":
            raw = pa.CompressedInputStream(stream, "zstd")
        case ".lz4":
            raw = pa.CompressedInputStream(stream, "lz4")
        case ".bz2":
            raw = _Streams(stream, bz2.BZ2Decompressor)
        case ".xz":
            raw = _Streams(stream, partial(lzma.LZMADecompressor, lzma.FORMAT_XZ, _XZ_MEMORY), between=b"\0")
        case _:
            return stream
    return io.BufferedReader(cast(io.RawIOBase, raw), _CHUNK_BYTES)


class _Streams(io.RawIOBase):
    """The text of concatenated compressed streams, with any number of the bytes `between` them.

    bz2.open and lzma.open take a broken stream for the end of the file, and pyarrow fails on an empty one of bz2.
    """

    def __init__(self, stream: BufferedReader, unpacker: Callable[[], _Unpacker], *, between: bytes = b"") -> None:
        self._stream = stream
        self._new = unpacker
        self._between = between
        self._unpacker: _Unpacker | None = None
        self._packed = b""

    def readable(self) -> bool:
        """Always true."""
        return True

    def readinto(self, buffer: Any) -> int:
        """The next bytes of the text; 0 at its end."""
        text = b""
        while not text:
            unpacker = self._unpacker
            if not self._packed and (unpacker is None or unpacker.needs_input):
                self._packed = self._stream.read(_CHUNK_BYTES)
                if not self._packed and unpacker is None:
                    return 0
                if not self._packed:
                    raise EOFError("Compressed file ended before the end-of-stream marker was reached")
            if unpacker is None:
                self._packed = self._packed.lstrip(self._between) if self._between else self._packed
                self._unpacker = self._new() if self._packed else None
                continue
            text, self._packed = unpacker.decompress(self._packed, len(buffer)), b""
            if unpacker.eof:
                self._unpacker, self._packed = None, unpacker.unused_data
        buffer[: len(text)] = text
        return len(text)
