"""Texts and lists of texts in Arrow's layout: consecutive bytes, and where each text and each list begins."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.lists import bounds_of

Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]
Bytes = npt.NDArray[np.uint8]
TEXT = pa.string()
TEXTS = pa.list_(pa.string())


def spans(texts: pa.Array) -> tuple[Bytes, Ints]:
    """The consecutive bytes of all texts (or binaries), and where in them each text begins; last, where they end.

    A null has no bytes, whatever Arrow's buffer holds in its place.
    """
    if texts.null_count:
        texts = texts.fill_null("" if pa.types.is_string(texts.type) else b"")
    if len(texts) == 0:
        return np.empty(0, np.uint8), np.zeros(1, np.int64)
    _, offsets, data = texts.buffers()
    at = np.frombuffer(offsets, np.int32, len(texts) + 1, texts.offset * 4).astype(np.int64)
    size = int(at[-1] - at[0])
    found = np.frombuffer(data, np.uint8, size, int(at[0])) if size else np.empty(0, np.uint8)
    return found, at - at[0]


def binaries(data: Any, at: Ints) -> pa.Array:
    """The inverse of `spans`, as binaries."""
    offsets = pa.py_buffer(at.astype(np.int32))
    return pa.Array.from_buffers(pa.binary(), len(at) - 1, [None, offsets, pa.py_buffer(data)])


def lengths(lists: pa.Array) -> Ints:
    """The number of texts in each list; 0 for a null list."""
    found: Ints = as_numpy(pc.list_value_length(lists), 0).astype(np.int64)
    return found


def lists_of(counts: Ints, texts: pa.Array, valid: Bools | None = None) -> pa.Array:
    """Lists of the next `counts` texts each; lists that are not valid are null and hold none."""
    offsets = pa.array(bounds_of(counts), pa.int32())
    mask = None if valid is None or valid.all() else pa.array(~valid)
    return pa.ListArray.from_arrays(offsets, texts, mask=mask)


def rows_of(places: Ints, at: Ints) -> Ints:
    """The part in which each place lies; the parts begin at `at`."""
    return np.searchsorted(at, places, side="right") - 1


def rows_with(places: Ints, at: Ints) -> Bools:
    """Whether any place lies in each part."""
    found = np.zeros(len(at) - 1, np.bool_)
    if len(places):
        found[rows_of(places, at)] = True
    return found


def counts_in(places: Ints, at: Ints) -> Ints:
    """The number of the places, which ascend, in each part."""
    return np.diff(np.searchsorted(places, at))


def any_of(marked: Bools, counts: Ints) -> Bools:
    """Whether any text of each list, of `counts` texts, is marked."""
    return rows_with(np.flatnonzero(marked), bounds_of(counts))


def is_null(array: pa.Array) -> Bools:
    """Which values are null."""
    if array.null_count == 0:
        return np.zeros(len(array), np.bool_)
    found: Bools = as_numpy(array.is_null())
    return found


def as_numpy(array: pa.Array, null: Any = False) -> Any:
    """The values as a numpy array, with `null` in place of nulls."""
    return (array.fill_null(null) if array.null_count else array).to_numpy(zero_copy_only=False)


def concatenated(parts: list[pa.Array], order: Ints) -> pa.Array:
    """The values of the concatenated parts, in this order."""
    return pa.concat_arrays(parts).take(pa.array(order))


def texts_of(lists: pa.Array) -> pa.Array:
    """Each list of ids as one text, separated by blanks, which no usable id holds; null stays null."""
    return pc.binary_join(lists, " ")
