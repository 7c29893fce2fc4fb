from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from schemas.errors import ContractError
from schemas.item_use import DTYPES, ItemUse, item_use_fault, use_file

USED = {
    "clicks_V": np.array([0, 3, 0, 1]),
    "in_batches_V": np.array([False, True, True, True]),
    "in_evaluation_V": np.array([False, False, True, False]),
}


def test_arrays_come_back_by_name() -> None:
    assert all(ItemUse(**USED).arrays()[name] is array for name, array in USED.items())


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"clicks_V": np.array([0, 3, 0, 1], np.int32)}, "clicks_V is int32 of 1 axes, not int64 of one"),
        ({"in_batches_V": np.ones((4, 1), np.bool_)}, "in_batches_V is bool of 2 axes"),
        ({"in_evaluation_V": np.zeros(3, np.bool_)}, "differ in length"),
        ({name: array[:0] for name, array in USED.items()}, "are empty"),
        ({"clicks_V": np.array([1, 3, 0, 1])}, "the pad is used"),
        ({"in_evaluation_V": np.ones(4, np.bool_)}, "the pad is used"),
        ({"clicks_V": np.array([0, 3, -1, 1])}, "clicks_V is negative"),
        ({"in_batches_V": np.array([False, True, True, False])}, "clicks on an item that no batch holds"),
    ],
)
def test_arrays_that_break_a_rule_raise_an_error(change: dict[str, Any], says: str) -> None:
    with pytest.raises(ContractError, match=rf"item use: .*{says}.*Pack again with jobs\.pack"):
        ItemUse(**USED | change)


def listed(**change: tuple[int, int] | None) -> dict[str, tuple[int, int]]:
    sizes = {name: (10, 128 + 10 * np.dtype(kind).itemsize) for name, kind in DTYPES.items()} | change
    return {use_file(name): size for name, size in sizes.items() if size is not None}


@pytest.mark.parametrize(
    ("sizes", "fault"),
    [
        (listed(), None),
        ({"tokens/token_values.npy": (5, 9)}, None),  # an older directory
        (listed(clicks_V=None), "files lists rows/in_batches_V.npy, and no rows/clicks_V.npy"),
        (listed(in_batches_V=(9, 500)), "rows/in_batches_V.npy has 9 rows in 500 bytes, and the token table 10 rows"),
        (listed(clicks_V=(10, 79)), "rows/clicks_V.npy has 10 rows in 79 bytes, and the token table 10 rows"),
    ],
)
def test_listed_files_fit_the_token_table_or_are_all_absent(
    sizes: dict[str, tuple[int, int]], fault: str | None
) -> None:
    assert item_use_fault(sizes, rows=10) == fault
