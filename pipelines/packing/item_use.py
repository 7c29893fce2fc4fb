"""Counts what shards and evaluation files hold of each item row, task by task, and sums the counts exactly."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipelines.packing.assemble import Arrays
from pipelines.packing.shard import IntArray
from pipelines.packing.write import write_arrays
from schemas.errors import ContractError
from schemas.item_use import ItemUse, use_file
from schemas.manifest import FileEntry
from schemas.news import PAD_ROW
from schemas.storage.copies import fetched
from schemas.storage.place import Place
from schemas.trajectory import EVALUATION, TRAJECTORIES


class Held(NamedTuple):
    """The distinct item rows of a shard or a batch, ascending, and the clicks on each."""

    rows: IntArray
    clicks: IntArray


class Piece(NamedTuple):
    """A task's file of counts below the work folder; `variant` is None for an evaluation file."""

    path: str
    variant: int | None


def held_in_shard(click_row: IntArray, candidate_row: IntArray) -> Held:
    """What trajectories hold, by all their clicks and candidates."""
    rows = np.unique(np.concatenate([click_row, candidate_row]))
    return Held(rows, np.bincount(np.searchsorted(rows, click_row), minlength=len(rows)))


def held_in_batch(arrays: Arrays) -> Held:
    """What a packed batch holds."""
    rows = arrays["item_row_N"]
    return Held(rows, np.bincount(arrays["click_slot_BL"][arrays["click_mask_BL"]], minlength=len(rows)))


def rows_in_evaluation(impressions: pa.Table) -> NDArray[Any]:
    """The distinct item rows of impressions, ascending; unlabelled ones may show news without an item."""
    lists = [impressions[name].combine_chunks().flatten().to_numpy() for name in ("history_row", "shown_row")]
    rows = np.unique(np.concatenate(lists))
    return np.asarray(rows[rows != PAD_ROW])


class UseSum:
    """The item use of all that was added, in any order."""

    def __init__(self, rows: int) -> None:
        self._clicks_V = np.zeros(rows, np.int64)
        self._in_batches_V, self._in_evaluation_V = np.zeros(rows, np.bool_), np.zeros(rows, np.bool_)

    def add_batches(self, held: Held, *, variant: int = 0) -> None:
        """Add a shard or a batch. Clicks count in the first variant only: the others hold the same."""
        self._in_batches_V[held.rows] = True
        if variant == 0:
            self._clicks_V[held.rows] += held.clicks

    def add_evaluation(self, rows: IntArray) -> None:
        """Add the item rows of evaluation impressions."""
        self._in_evaluation_V[rows] = True

    def total(self) -> ItemUse:
        """The sums so far."""
        return ItemUse(clicks_V=self._clicks_V, in_batches_V=self._in_batches_V, in_evaluation_V=self._in_evaluation_V)


def sum_pieces(work: Place, pieces: Sequence[Piece], *, rows: int) -> ItemUse:
    """The sum over the files of all tasks, one of them in memory at a time. ContractError for rows that the token table
    of `rows` rows lacks."""
    found, names = UseSum(rows), {piece.path for piece in pieces}
    with fetched(work, wanted=names.__contains__) as folder:
        for piece in pieces:
            with np.load(folder / piece.path) as arrays:
                if (last := int(arrays["rows"].max(initial=PAD_ROW))) >= rows:
                    table = (EVALUATION if piece.variant is None else TRAJECTORIES).name
                    raise ContractError(
                        f"table {table}: names item row {last}, and item_tokens has rows 1 to {rows - 1}. "
                        "Run ./feedloop build_trajectories again"
                    )
                if piece.variant is None:
                    found.add_evaluation(arrays["rows"])
                else:
                    found.add_batches(Held(arrays["rows"], arrays["clicks"]), variant=piece.variant)
    return found.total()


def write_item_use(folder: Place, use: ItemUse) -> list[FileEntry]:
    """Write the arrays of a packed directory's item use."""
    return write_arrays(folder, {use_file(name): array for name, array in use.arrays().items()})
