"""Cells: the bytes of a row group's fields -> arrays. They are .npy files, as Petastorm's NdarrayCodec writes them."""

from __future__ import annotations

import io
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

_MAGIC = b"\x93NUMPY\x01\x00"  # version 1.0: what np.save writes for headers below 64 kB
_PREFIX = len(_MAGIC) + 2  # and the length of the header in two bytes


def decoded_rows(table: pa.Table) -> list[dict[str, NDArray[Any]]]:
    """One dict of arrays for each row. ValueError for bytes that are no array, or one that would need a pickle."""
    cells = {name: table.column(name).to_pylist() for name in table.column_names}
    return [{name: decoded(cell[row]) for name, cell in cells.items()} for row in range(table.num_rows)]


def decoded(cell: bytes) -> NDArray[Any]:
    """The array of one cell. Most of np.load's time goes into parsing headers, of which there are few."""
    if not cell.startswith(_MAGIC):
        loaded: NDArray[Any] = np.load(io.BytesIO(cell), allow_pickle=False)
        return loaded
    start = _PREFIX + int.from_bytes(cell[len(_MAGIC) : _PREFIX], "little")
    shape, dtype, count = _layout(cell[:start])
    if len(cell) - start != count * dtype.itemsize:
        raise ValueError(f"an array of {count} {dtype} in {len(cell) - start} bytes")
    return np.frombuffer(cell, dtype, offset=start).reshape(shape).copy()


@lru_cache(maxsize=1 << 14)
def _layout(header: bytes) -> tuple[tuple[int, ...], np.dtype[Any], int]:
    shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(io.BytesIO(header[len(_MAGIC) :]))
    if dtype.hasobject or (fortran_order and len(shape) > 1):
        raise ValueError(f"an array of {dtype}, fortran_order {fortran_order}: no packed batch holds one")
    return shape, dtype, int(np.prod(shape, dtype=np.int64))
