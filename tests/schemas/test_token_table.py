from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from schemas.errors import ContractError
from schemas.token_table import ARRAYS, DTYPES, TokenTable, file_of


def token_table(**changed: NDArray[Any]) -> TokenTable:
    """The pad and two items: one of one segment with two tokens, one of two segments with three and one."""
    good: dict[str, Any] = {
        "segment_start_V1": np.array([0, 0, 1, 3]),
        "token_start_S1": np.array([0, 2, 5, 6]),
        "segment_field_S": np.array([0, 0, 1], np.uint8),
        "token_values": np.arange(6, dtype=np.uint16),
        "canonical_row_V": np.array([0, 1, 2], np.int32),
        "tokens_version_V": np.array([0, 1, 1], np.int32),
        "refined_S": np.array([False, True, False]),
        "keyword_frequency_R": np.array([0, 2, 0], np.uint8),
        "keyword_position_R": np.array([0, 7, 0], np.uint16),
    }
    return TokenTable(**(good | changed))


def test_rows_count_the_pad_and_arrays_are_named() -> None:
    table = token_table()
    assert (table.rows, tuple(table.arrays())) == (3, ARRAYS)
    assert file_of("token_values") == "tokens/token_values.npy"


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("segment_start_V1", [0, 1, 1, 3], "row 0 is the pad"),
        ("segment_start_V1", [0, 0, 1, 2], "offsets do not end"),
        ("segment_start_V1", [0, 0, 4, 3], "segment_start_V1 falls"),
        ("segment_start_V1", [0], "no row at all"),
        ("segment_start_V1", [[0, 0, 1, 3]], "segment_start_V1 is int64 of 2 axes"),
        ("token_start_S1", [0, 5, 2, 6], "token_start_S1 does not rise"),
        ("token_start_S1", [0, 2, 2, 6], "token_start_S1 does not rise"),
        ("token_start_S1", [], "no row at all, or no offset"),
        ("canonical_row_V", [0, 1, 3], "names the pad, or a row that is not there"),
        ("canonical_row_V", [0, -1, 2], "names the pad, or a row that is not there"),
        ("canonical_row_V", [0, 0, 2], "names the pad, or a row that is not there"),
        ("canonical_row_V", [1, 1, 2], "names the pad, or a row that is not there"),
        ("canonical_row_V", [0, 2, 1], "names a row that another one represents"),
        ("tokens_version_V", [0, -1, 1], "tokens_version_V is negative"),
        ("token_start_S1", [0, 2, 5, 7], "offsets do not end"),
        ("segment_field_S", [0, 0], "arrays disagree"),
        ("canonical_row_V", [0, 1], "arrays disagree"),
        ("tokens_version_V", [0, 1], "arrays disagree"),
        ("refined_S", [True, True], "arrays disagree"),
        ("refined_S", [True, False, False], "keywords are not those of the refined segments"),
        ("keyword_frequency_R", [0, 2], "keywords are not those of the refined segments"),
    ],
)
def test_offsets_that_do_not_fit_are_refused(name: str, values: list[int], message: str) -> None:
    with pytest.raises(ContractError, match=message):
        token_table(**{name: np.array(values, DTYPES[name][0])})


@pytest.mark.parametrize("name", ARRAYS)
@pytest.mark.parametrize("dtype", ["object", "float64", "S1", [("a", "i4")], ">i8"])
def test_other_types_are_refused(name: str, dtype: Any) -> None:
    with pytest.raises(ContractError, match=f"token table: {name} is "):
        token_table(**{name: np.zeros(3, dtype)})


@pytest.mark.parametrize(
    ("allowed", "message"),
    [
        ({"vocabulary": 5}, "token id up to 5, the manifest allows 4"),
        ({"segments": 1}, "segments of an item up to 2, the manifest allows 1"),
        ({"tokens": 2}, "tokens of a segment up to 3, the manifest allows 2"),
        ({"fields": 1}, "field up to 1, the manifest allows 0"),
    ],
)
def test_what_is_larger_than_the_manifest_allows_is_refused(allowed: dict[str, int], message: str) -> None:
    fits = {"vocabulary": 6, "segments": 2, "tokens": 3, "fields": 2}
    token_table().check_tokens(**fits)
    with pytest.raises(ContractError, match=message):
        token_table().check_tokens(**(fits | allowed))
