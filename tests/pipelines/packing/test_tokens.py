from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from pipelines.packing.tokens import token_table
from schemas.errors import ContractError


def items(*rows: tuple[int, int, list[int], list[list[int]]], refined: list[int] | None = None) -> pa.Table:
    """`refined`: a number for each token of the second row's first segment."""
    row, canonical, field, tokens = zip(*rows, strict=True)
    numbers = [[refined if refined and at == (1, 0) else [] for at in ((r, s) for s in range(len(segments)))]
               for r, segments in enumerate(tokens)]  # fmt: skip
    return pa.table(
        {
            "item_row": pa.array(row, pa.int32()),
            "canonical_row": pa.array(canonical, pa.int32()),
            "segment_field": pa.array(field, pa.list_(pa.int32())),
            "tokens_version": pa.array([1 + number for number in row], pa.int32()),
            "segment_tokens": pa.array(tokens, pa.list_(pa.list_(pa.int32()))),
            "segment_frequency": pa.array(numbers, pa.list_(pa.list_(pa.int32()))),
            "segment_position": pa.array(numbers, pa.list_(pa.list_(pa.int32()))),
        }
    )


def test_items_in_any_order_become_offsets_and_values_by_row() -> None:
    table = token_table(items((2, 1, [0, 2], [[1, 5, 2], [1, 2]]), (1, 1, [0], [[1, 7, 8, 2]])), vocabulary=30522)
    assert {name: array.tolist() for name, array in table.arrays().items()} == {
        "segment_start_V1": [0, 0, 1, 3],
        "token_start_S1": [0, 4, 7, 9],
        "segment_field_S": [0, 0, 2],
        "token_values": [1, 7, 8, 2, 1, 5, 2, 1, 2],
        "canonical_row_V": [0, 1, 1],
        "tokens_version_V": [0, 2, 3],
        "refined_S": [False, False, False],
        "keyword_frequency_R": [],
        "keyword_position_R": [],
    }
    dtypes = [np.int64, np.int64, np.uint8, np.uint16, np.int32, np.int32, np.bool_, np.uint8, np.uint16]
    assert [array.dtype for array in table.arrays().values()] == dtypes


def test_refined_segments_bring_their_keywords() -> None:
    found = items(
        (2, 2, [0, 2], [[1, 5, 2], [1, 2]]), (1, 1, [0, 1], [[1, 7, 8, 2], [1, 2]]), refined=[0, 99, 70_000, 0]
    )
    table = token_table(found, vocabulary=9)
    assert table.refined_S.tolist() == [True, False, False, False]
    assert table.keyword_frequency_R.tolist()[:2] == [0, 99]
    assert table.keyword_position_R.tolist() == [0, 99, 65_535, 0]
    with pytest.raises(ContractError, match="keywords are not those of the refined segments"):
        replace(table, keyword_position_R=np.zeros(3, np.uint16))


def test_a_vocabulary_beyond_two_bytes_gets_four() -> None:
    table = token_table(items((1, 1, [0], [[1, 70_000]])), vocabulary=70_001)
    assert (table.token_values.dtype, table.token_values.tolist()) == (np.uint32, [1, 70_000])


def test_rows_with_a_gap_are_an_error_that_says_what_to_do() -> None:
    with pytest.raises(ContractError, match=r"rows of its 2 items are not 1 to 2.*prepare_news"):
        token_table(items((1, 1, [0], [[1]]), (3, 3, [0], [[1]])), vocabulary=9)
