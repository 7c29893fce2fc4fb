from __future__ import annotations

import pyarrow as pa

from pipelines.packing.shard import Shard

TABLE = pa.table(
    {
        "click_row": pa.array([[9], [5], [3, 4]], pa.list_(pa.int32())),
        "prefix": pa.array([[0], [0], [0, 1]], pa.list_(pa.int32())),
        "candidate_row": pa.array([[[9, 1]], [[5, 6, 7]], [[], [4, 8]]], pa.list_(pa.list_(pa.int32()))),
        "weight": pa.array([[1], [1], [0, 1]], pa.list_(pa.float32())),
        "logged": pa.array([[True], [True], [False, True]], pa.list_(pa.bool_())),
    }
)


def flat(table: pa.Table) -> dict[str, list[object]]:
    shard = Shard.from_arrow(table)
    return {name: getattr(shard, name).tolist() for name in Shard.__slots__} | {"owner": shard.click_owner.tolist()}


def test_lists_become_flat_arrays_with_offsets() -> None:
    assert flat(TABLE) == {
        "click_start": [0, 1, 2, 4],
        "click_row": [9, 5, 3, 4],
        "prefix": [0, 0, 0, 1],
        "weight": [1, 1, 0, 1],
        "logged": [True, True, False, True],
        "candidate_start": [0, 2, 5, 5, 7],
        "candidate_row": [9, 1, 5, 6, 7, 4, 8],
        "owner": [0, 1, 2, 2],
    }


def test_a_slice_or_several_chunks_give_the_same_arrays_as_a_copy() -> None:
    copied = pa.Table.from_pylist(TABLE.to_pylist()[1:], TABLE.schema)
    assert flat(TABLE.slice(1)) == flat(copied)
    assert flat(pa.concat_tables([TABLE.slice(1, 1), TABLE.slice(2)])) == flat(copied)


def test_a_table_without_rows_is_an_empty_shard() -> None:
    assert Shard.from_arrow(TABLE.slice(0, 0)).trajectories == 0
