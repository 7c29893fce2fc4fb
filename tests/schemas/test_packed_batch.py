from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from schemas.as_petastorm import packed_batch_unischema
from schemas.cells import npy_bytes
from schemas.errors import ContractError
from schemas.packed_batch import FORMAT_VERSION, PACKED_BATCH, check_arrays

SIZES = {"1": 1, "N": 3, "B": 2, "L": 4, "K": 2}


def arrays(**changed: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """A batch whose arrays have the right shapes, with the given changes."""
    good = {a.name: np.zeros([SIZES[letter] for letter in a.axes], a.dtype) for a in PACKED_BATCH}
    good["format_version"] = np.array([FORMAT_VERSION], np.int32)
    good["item_row_N"] = np.array([2, 5, 9], np.int32)
    good["click_mask_BL"] = np.array([[True, True, True, False], [True, False, False, False]])
    good["weight_BL"] = np.array([[0, 0, 1.5, 0], [0, 0, 0, 0]], np.float32)
    good["prefix_BL"] = np.array([[0, 1, 2, 0], [0, 0, 0, 0]], np.int32)
    good["target_mask_BLK"] = np.zeros((2, 4, 2), np.bool_)
    good["target_mask_BLK"][0, 2] = True
    good["target_count"] = np.array([1])
    good["weight_sum"] = np.array([1.5])
    return good | changed


def test_a_good_batch_passes() -> None:
    check_arrays(arrays(), "here", rows=10)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"more": np.zeros(1)}, "PACKED_BATCH says"),
        ({"format_version": np.array([FORMAT_VERSION + 1], np.int32)}, "format version"),
        ({"prefix_BL": np.zeros((2, 4), np.int64)}, "prefix_BL is int64 of 2 axes"),
        ({"prefix_BL": np.zeros((2, 5), np.int32)}, "prefix_BL has 5 along L, others 4"),
        ({"click_slot_BL": np.full((2, 4), 3, np.int32)}, "click_slot_BL points outside the 3 items"),
        ({"target_slot_BLK": np.full((2, 4, 2), -1, np.int32)}, "target_slot_BLK points outside"),
        ({"format_version": np.zeros((), np.int32)}, "format_version is int32 of 0 axes"),
        ({"batch_id": np.zeros(2, np.int64)}, "batch_id has 2 along 1, others 1"),
        ({"item_row_N": np.array([{}, {}, {}])}, "item_row_N is object"),
        ({"item_row_N": np.zeros(3, [("a", "i4")])}, r"item_row_N is \[\('a'"),
        ({"item_row_N": np.array([2, 5, 10], np.int32)}, "a row beyond the 10 of the token table"),
        ({"item_row_N": np.array([-2, 5, 9], np.int32)}, "the pad or a row beyond"),
        ({"item_row_N": np.array([0, 5, 9], np.int32)}, "the pad or a row beyond"),
        ({"item_row_N": np.array([2, 9, 5], np.int32)}, "an item twice, or out of order"),
        ({"item_row_N": np.array([2, 5, 5], np.int32)}, "an item twice, or out of order"),
        ({"click_mask_BL": np.array([[True, False, True, False]] * 2)}, "a click behind padding"),
        ({"prefix_BL": np.array([[0, 1, 3, 0], [0] * 4], np.int32)}, "shows a target itself"),
        ({"prefix_BL": np.array([[0, -1, 2, 0], [0] * 4], np.int32)}, "shows a target itself"),
        ({"weight_BL": np.array([[0, 0, np.nan, 0], [0] * 4], np.float32)}, "negative or not finite"),
        ({"weight_BL": np.array([[0, 0, -1, 0], [0] * 4], np.float32)}, "negative or not finite"),
        ({"weight_BL": np.array([[0, 0, np.inf, 0], [0] * 4], np.float32)}, "negative or not finite"),
        ({"weight_BL": np.array([[0, 0, 0, 1.5], [0] * 4], np.float32)}, "a target where there is no click"),
        ({"target_mask_BLK": np.zeros((2, 4, 2), np.bool_)}, "lacks a target's clicked candidate"),
        ({"label_BL": np.full((2, 4), 7, np.int8)}, "none of -1, 0 and 1"),
        ({"target_count": np.array([2])}, "target_count is not the number of targets"),
        ({"weight_sum": np.array([np.nan])}, "weight_sum is not the sum"),
    ],
)
def test_a_batch_that_breaks_the_contract_is_named(changed: dict[str, NDArray[Any]], message: str) -> None:
    with pytest.raises(ContractError, match=f"here: .*{message}"):
        check_arrays(arrays(**changed), "here", rows=10)


def test_petastorm_knows_every_field_by_type_and_shape() -> None:
    fields = packed_batch_unischema().fields
    assert set(fields) == {a.name for a in PACKED_BATCH}
    assert fields["batch_id"].shape == (1,)
    assert (fields["target_slot_BLK"].shape, fields["target_slot_BLK"].numpy_dtype) == ((None, None, None), np.int32)


def test_encoded_bytes_are_a_plain_npy_file() -> None:
    array = np.arange(6, dtype=np.int32).reshape(2, 3)
    assert np.array_equal(np.load(io.BytesIO(npy_bytes(array)), allow_pickle=False), array)
