"""Text compressed as the name of its file says."""

from __future__ import annotations

import bz2
import gzip
import lzma
from collections.abc import Callable, Mapping
from functools import partial

import pyarrow as pa


def _by_arrow(text: bytes, codec: str) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, codec) as stream:
        stream.write(text)
    return bytes(sink.getvalue())


COMPRESSED: Mapping[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.compress,
    ".zst": partial(_by_arrow, codec="zstd"),
    ".bz2": bz2.compress,
    ".lz4": partial(_by_arrow, codec="lz4"),
    ".xz": lzma.compress,
}


def packed(name: str, *texts: bytes) -> bytes:
    """The bytes of a file of this name that holds these texts one after the other, each compressed on its own."""
    how = next((how for suffix, how in COMPRESSED.items() if name.endswith(suffix)), bytes)
    return b"".join(map(how, texts))
