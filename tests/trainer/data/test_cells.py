"""Cells come back as np.save wrote them; anything else is refused, and nothing is unpickled."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from trainer.data.cells import decoded, decoded_rows

DTYPES = st.sampled_from(["int8", "int32", "int64", "float32", "float64", "bool"])


def saved(array: Any, **options: Any) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, **options)
    return stream.getvalue()


@given(arrays.arrays(DTYPES, arrays.array_shapes(min_dims=0, max_dims=4, min_side=0)))
def test_an_array_comes_back_as_it_was_and_can_be_written_to(array: np.ndarray) -> None:
    for _ in range(2):  # by a header seen before, too
        found = decoded(saved(array))
        assert (found.dtype, found.shape) == (array.dtype, array.shape)
        assert found.tobytes() == array.tobytes()
        assert found.flags.writeable


def test_rows_of_a_table_are_decoded_field_by_field() -> None:
    rows = [{"a": np.arange(n), "b": np.ones((n, 2), np.float32)} for n in range(3)]
    table = pa.table({name: [saved(row[name]) for row in rows] for name in "ab"})
    for found, row in zip(decoded_rows(table), rows, strict=True):
        assert all(np.array_equal(found[name], row[name]) for name in "ab")


def test_another_version_of_the_format_is_read_by_numpy() -> None:
    stream = io.BytesIO()
    np.lib.format.write_array(stream, np.arange(5), version=(2, 0))
    assert decoded(stream.getvalue()).tolist() == [0, 1, 2, 3, 4]


CUT, LONGER = saved(np.arange(9))[:-1], saved(np.arange(9)) + b"x"
PICKLED, BY_COLUMN = saved(np.array([{}], object), allow_pickle=True), saved(np.asfortranarray(np.ones((2, 3))))


@pytest.mark.parametrize("cell", [b"", b"garbage", CUT, LONGER, PICKLED, BY_COLUMN, CUT[:20]])
def test_what_is_no_array_is_refused(cell: bytes) -> None:
    with pytest.raises((ValueError, EOFError)):
        decoded(cell)
