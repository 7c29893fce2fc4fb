"""Decodes .npy bytes to arrays, from the cells of a row group and from files.

Nothing is unpickled or evaluated, and nothing allocated before the header, the shape and the number of bytes agree.
"""

from __future__ import annotations

import io
import math
import os
from collections.abc import Sequence
from functools import lru_cache
from io import BufferedReader
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from schemas.regular_file import opened

_MAGIC = b"\x93NUMPY\x01\x00"  # version 1.0: what np.save writes for headers below 64 kB
_PREFIX = len(_MAGIC) + 2  # two bytes hold the length of the header
_LONGEST_HEADER = _PREFIX + (1 << 16)
_LARGEST_FILE = 1 << 44


class Layout(NamedTuple):
    """The array that a header announces."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    numbers: int
    start: int  # bytes of the header


def decoded_rows(table: pa.Table, names: Sequence[str]) -> list[dict[str, NDArray[Any]]]:
    """One dict of arrays per row. ValueError where a name is missing or a cell is no array of plain numbers."""
    if lacking := [name for name in names if name not in table.column_names]:
        raise ValueError(f"no column {', '.join(lacking)}")
    cells = {name: table.column(name).to_pylist() for name in names}
    return [{name: decoded(cell[row]) for name, cell in cells.items()} for row in range(table.num_rows)]


def decoded(cell: bytes | None) -> NDArray[Any]:
    """The array of one cell. ValueError unless the bytes are one array of plain numbers in C order and no more."""
    if cell is None:
        raise ValueError("a cell without an array")
    layout = layout_of(cell, len(cell))
    return np.frombuffer(cell, layout.dtype, offset=layout.start).reshape(layout.shape).copy()


def layout_of(begin: bytes, size: int) -> Layout:
    """Parses the header in `begin`, the first of `size` bytes. ValueError unless it accounts for every byte."""
    if not begin.startswith(_MAGIC):
        raise ValueError(f"no .npy array of version 1.0: it begins with {begin[:8]!r}")
    start = _PREFIX + int.from_bytes(begin[len(_MAGIC) : _PREFIX], "little")
    shape, dtype, count = _header(begin[:start])
    if size - start != count * dtype.itemsize:
        raise ValueError(f"an array of {count} {dtype} in {size - start} bytes")
    return Layout(shape, dtype, count, start)


def mapped(source: Path | BufferedReader) -> NDArray[Any]:
    """The array of a .npy file, memory-mapped. ValueError as `decoded`; ContractError unless it is a regular file."""
    if isinstance(source, Path):
        with opened(source, largest=_LARGEST_FILE) as stream:
            return mapped(stream)
    layout = layout_of(source.read(_LONGEST_HEADER), os.fstat(source.fileno()).st_size)
    if layout.numbers == 0:  # an empty array cannot be mapped
        return np.zeros(layout.shape, layout.dtype)
    return np.memmap(source, layout.dtype, mode="r", offset=layout.start, shape=layout.shape)


@lru_cache(maxsize=1 << 14)
def _header(header: bytes) -> tuple[tuple[int, ...], np.dtype[Any], int]:
    """(shape, dtype, count). Cached: np.load spends most of its time on parsing, and few headers differ."""
    try:
        shape, by_column, dtype = np.lib.format.read_array_header_1_0(io.BytesIO(header[len(_MAGIC) :]))
    except Exception as error:  # numpy passes on whatever its parser of Python literals raises
        raise ValueError(f"no header of an array ({type(error).__name__})") from error
    if dtype.kind not in "biuf" or not dtype.isnative or (by_column and len(shape) > 1) or min(shape, default=0) < 0:
        raise ValueError(f"an array of {dtype}, shape {shape}, by column {by_column}: no packed directory holds one")
    return shape, dtype, math.prod(shape)
