"""Cells come back as np.save wrote them; anything else raises an error, and nothing is unpickled."""

from __future__ import annotations

import io
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from schemas.errors import InputError
from trainer.data.cells import decoded, decoded_rows, mapped

DTYPES = st.sampled_from(["int8", "int32", "int64", "float32", "float64", "bool"])


def saved(array: Any, **options: Any) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, **options)
    return stream.getvalue()


@given(arrays.arrays(DTYPES, arrays.array_shapes(min_dims=0, max_dims=4, min_side=0)))
def test_an_array_comes_back_as_it_was_and_can_be_written_to(array: np.ndarray) -> None:
    for _ in range(2):  # the second time with a cached header
        found = decoded(saved(array))
        assert (found.dtype, found.shape) == (array.dtype, array.shape)
        assert found.tobytes() == array.tobytes()
        assert found.flags.writeable


def test_rows_of_a_table_are_decoded_field_by_field() -> None:
    rows = [{"a": np.arange(n), "b": np.ones((n, 2), np.float32)} for n in range(3)]
    table = pa.table({name: [saved(row[name]) for row in rows] for name in "ab"})
    for found, row in zip(decoded_rows(table, ["a", "b"]), rows, strict=True):
        assert all(np.array_equal(found[name], row[name]) for name in "ab")


def test_a_column_that_is_missing_is_named() -> None:
    with pytest.raises(ValueError, match="no column b, c"):
        decoded_rows(pa.table({"a": [saved(np.arange(2))]}), ["a", "b", "c"])


def by_header(header: str, values: bytes = b"", *, version: int = 1) -> bytes:
    """A file with any header."""
    text = header.encode("latin1")
    return b"\x93NUMPY" + bytes([version, 0]) + len(text).to_bytes(2 if version == 1 else 4, "little") + text + values


def header(descr: str, shape: str) -> str:
    return f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}\n"


def as_npz() -> bytes:
    stream = io.BytesIO()
    np.savez(stream, a=np.arange(3))
    return stream.getvalue()


NUMBERS = saved(np.arange(9))
REFUSED = {
    "nothing": b"",
    "garbage": b"garbage",
    "cut short": NUMBERS[:-1],
    "longer": NUMBERS + b"x",
    "cut in the header": NUMBERS[:20],
    "objects": saved(np.array([{}], object), allow_pickle=True),
    "a pickle": pickle.dumps([1, 2]),
    "npz": as_npz(),
    "by column": saved(np.asfortranarray(np.ones((2, 3)))),
    "structured": saved(np.zeros(2, [("a", "i4"), ("b", "f4")])),
    "texts": saved(np.array(["a", "bc"])),
    "times": saved(np.array(["2026-01-01"], "datetime64[D]")),
    "complex": saved(np.ones(2, np.complex128)),
    "another byte order": saved(np.arange(3, dtype=">i4")),
    "version 2": by_header(header("'<i8'", "(0,)"), version=2),
    "a shape below 0": by_header(header("'<i8'", "(-1,)"), bytes(8)),
    "two below 0": by_header(header("'<i8'", "(-2, -1)"), bytes(16)),
    "a terabyte": by_header(header("'<i8'", "(137438953472,)")),
    "a count beyond 64 bits": by_header(header("'<i8'", "(4294967296, 4294967296)")),
    "code as header": by_header("__import__('os').system('false')"),
    "code as shape": by_header(header("'<i8'", "(exit(1),)")),
    "deep": by_header("(" * 9_000),
    "long": by_header(header("'<i8'", "(0,)").rstrip() + " " * 60_000),
    "no dictionary": by_header("[1, 2]"),
    "an unknown type": by_header(header("'<q9'", "(1,)"), bytes(8)),
    "a type of code": by_header(header("('<i8', exit)", "(1,)"), bytes(8)),
}


@pytest.mark.parametrize("name", REFUSED)
def test_only_arrays_of_plain_numbers_are_read_from_cells_and_files(name: str, tmp_path: Path) -> None:
    file = tmp_path / "a.npy"
    file.write_bytes(REFUSED[name])
    for read in (lambda: decoded(REFUSED[name]), lambda: mapped(file)):
        with pytest.raises(ValueError, match="array"):
            read()


def test_a_cell_without_an_array_raises_an_error() -> None:
    with pytest.raises(ValueError, match="a cell without an array"):
        decoded(None)


@given(arrays.arrays(DTYPES, arrays.array_shapes(min_dims=1, max_dims=2, min_side=0)))
def test_a_file_is_mapped_as_it_was_written(tmp_path_factory: pytest.TempPathFactory, array: np.ndarray) -> None:
    file = tmp_path_factory.getbasetemp() / "mapped.npy"
    file.write_bytes(saved(array))
    found = mapped(file)
    assert (found.dtype, found.shape, found.tobytes()) == (array.dtype, array.shape, array.tobytes())


def test_only_a_regular_file_is_mapped(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(InputError, match="a FIFO, where a regular file belongs"):
        mapped(tmp_path / "fifo")
