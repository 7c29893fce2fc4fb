"""A parcel gives back the arrays that it was made of, from one buffer or in place."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from trainer.data.parcel import Parcel

CPU = torch.device("cpu")
ARRAYS = {
    ("index", "rows"): np.arange(5),
    ("batch", "mask"): np.array([[True, False, True]]),
    ("batch", "weight"): np.array([0.5, 1.0], np.float32),
    ("chunk", "none"): np.zeros((0, 3), np.int64),
    ("chunk", "small"): np.arange(12, dtype=np.int32).reshape(3, 4).T,  # not contiguous
}


@pytest.mark.parametrize("pinned", [False, True])
def test_arrays_come_back_by_name(pinned: bool) -> None:
    found = Parcel(ARRAYS, pinned=pinned).to(CPU)
    assert found.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert found[name].numpy().dtype == array.dtype
        assert np.array_equal(found[name].numpy(), array)


def test_a_joined_parcel_lies_in_one_buffer_and_keeps_its_arrays() -> None:
    own = {"a": np.arange(3), "b": np.ones(4, np.float32)}
    parcel = Parcel(own, pinned=True)
    own["a"][:] = 9
    found = parcel.to(CPU)
    assert found["a"].tolist() == [0, 1, 2]
    assert found["a"].untyped_storage().data_ptr() == found["b"].untyped_storage().data_ptr()
    assert all(tensor.data_ptr() % 16 == 0 for tensor in found.values())
