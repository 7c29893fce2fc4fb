"""What shards and impressions hold of each item row is summed exactly, however they are divided into tasks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipelines.packing.item_use import Piece, UseSum, held_in_batch, held_in_shard, sum_pieces
from pipelines.packing.write import write_piece
from schemas.errors import ContractError
from schemas.item_use import ItemUse
from schemas.storage.place import Place
from tests.packed import batches_of, random_trajectory, shard_of

ITEMS = 40


def same(left: ItemUse, right: ItemUse) -> bool:
    return all(np.array_equal(array, right.arrays()[name]) for name, array in left.arrays().items())


@pytest.mark.parametrize("size", [1, 7, 64])
def test_shards_batches_and_trajectories_one_by_one_give_the_same_use(size: int) -> None:
    rng = np.random.default_rng(3)
    trajectories = [random_trajectory(rng, items=ITEMS) for _ in range(64)]
    wanted = np.zeros(ITEMS + 1, np.int64)
    for clicks, _, _ in trajectories:
        for row in clicks:
            wanted[row] += 1
    held = {row for clicks, lists, _ in trajectories for row in [*clicks, *(row for each in lists for row in each)]}
    by_batch, by_shard = UseSum(ITEMS + 1), UseSum(ITEMS + 1)
    for batch in batches_of(trajectories, size=size):
        by_batch.add_batches(held_in_batch(batch))
    for start in range(0, 64, size):
        shard = shard_of(trajectories[start : start + size])
        by_shard.add_batches(held_in_shard(shard.click_row, shard.candidate_row))
    assert by_batch.total().clicks_V.tolist() == wanted.tolist()
    assert set(np.flatnonzero(by_batch.total().in_batches_V).tolist()) == held
    assert not by_batch.total().in_evaluation_V.any()
    assert same(by_batch.total(), by_shard.total())


def pieces_in(folder: Path) -> list[Piece]:
    write_piece(folder / "a.npz", {"rows": np.array([1, 4]), "clicks": np.array([2, 0])})
    write_piece(folder / "b.npz", {"rows": np.array([1, 2]), "clicks": np.array([1, 5])})
    write_piece(folder / "other.npz", {"rows": np.array([3, 4]), "clicks": np.array([9, 9])})
    write_piece(folder / "evaluation.npz", {"rows": np.array([2, 5])})
    write_piece(folder / "failed-attempt.npz", {"rows": np.array([5]), "clicks": np.array([7])})
    return [Piece("a.npz", 0), Piece("other.npz", 1), Piece("b.npz", 0), Piece("evaluation.npz", None)]


def test_clicks_count_in_the_first_variant_and_files_of_failed_attempts_not_at_all(tmp_path: Path) -> None:
    found = sum_pieces(Place.of(tmp_path), pieces_in(tmp_path), rows=6)
    assert found.clicks_V.tolist() == [0, 3, 5, 0, 0, 0]
    assert np.flatnonzero(found.in_batches_V).tolist() == [1, 2, 3, 4]
    assert np.flatnonzero(found.in_evaluation_V).tolist() == [2, 5]


def test_the_order_of_tasks_changes_nothing(tmp_path: Path) -> None:
    pieces = pieces_in(tmp_path)
    assert same(*(sum_pieces(Place.of(tmp_path), some, rows=6) for some in (pieces, pieces[::-1])))


@pytest.mark.parametrize(("rows", "table"), [(4, "trajectories"), (5, "evaluation")])
def test_rows_beyond_the_token_table_name_the_table(tmp_path: Path, rows: int, table: str) -> None:
    with pytest.raises(ContractError, match=rf"table {table}: names item row {rows}.*has rows 1 to {rows - 1}\. Run"):
        sum_pieces(Place.of(tmp_path), pieces_in(tmp_path), rows=rows)
