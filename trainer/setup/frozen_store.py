"""Stores the frozen layers' output on disk, so that it is computed once for all runs over the same data and model."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from schemas.news import PAD_ROW
from schemas.token_table import TokenTable, file_of
from trainer.cost.memory import fits
from trainer.data.directory import PackedDirectory
from trainer.model.frozen import fill_store, frozen_key
from trainer.model.item_input import ItemInput
from trainer.model.split_encoder import SplitEncoder
from trainer.setup.shard_file import Shard, ShardFile, mapped_tensor

SHARD_TOKENS = 1 << 17  # 200 MB for a width of 768; batches by length are within a shard: 3 to 8% padding


def frozen_store(
    split: SplitEncoder,
    directory: PackedDirectory,
    folder: Path,
    *,
    rows: NDArray[np.int64],
    device: torch.device,
    reserved: int = 0,
    progress: Callable[[int], None] = lambda _: None,
) -> Tensor:
    """Half-precision output of the frozen layers, token by token (token values x H), on the device where it fits, else
    memory-mapped on the CPU.

    A killed fill resumes where it was; processes that fill at the same time share the work. Tokens of other rows are
    left unwritten. `rows`: ascending; `reserved`: as in `fits`.
    """
    store = _Store.of(split, directory, folder, rows)
    found = store.found()
    if found is None:
        folder.mkdir(parents=True, exist_ok=True)
        store.sweep()
        _fill(store, split, device, progress)
        found = store.file.mapped()
    return _placed(found, device, reserved)


def found_store(
    split: SplitEncoder,
    directory: PackedDirectory,
    folder: Path,
    *,
    rows: NDArray[np.int64],
    device: torch.device,
    reserved: int = 0,
) -> Tensor | None:
    """The store that `frozen_store` made for these rows; None if there is none, or one that is not complete."""
    found = _Store.of(split, directory, folder, rows).found()
    return None if found is None else _placed(found, device, reserved)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Store:
    """The store of some item rows, as it lies in a folder."""

    table: TokenTable
    rows: NDArray[np.int64]
    file: ShardFile
    shards: list[Shard]
    in_one: Path
    """the file of an older feedloop, which is complete or absent"""
    shape: tuple[int, int]

    @classmethod
    def of(cls, split: SplitEncoder, directory: PackedDirectory, folder: Path, rows: NDArray[np.int64]) -> _Store:
        tokens_sha256 = "".join(e.sha256 for e in directory.manifest.files if e.path == file_of("token_values"))
        path = folder / frozen_key(split, rows, tokens_sha256)
        table = directory.token_table()
        shape = (len(table.token_values), split.hidden)
        return cls(
            table=table,
            rows=rows,
            file=ShardFile(path, places=shape[0], width=shape[1]),
            shards=cut_shards(table, rows),
            in_one=path.with_name(f"{path.name}.npy"),
            shape=shape,
        )

    def found(self) -> Tensor | None:
        """The complete store, mapped into memory."""
        if self.file.complete(self.shards):
            return self.file.mapped()
        try:
            stored = np.load(self.in_one, mmap_mode="r")
        except (OSError, ValueError, EOFError):  # absent, or damaged
            return None
        expected = isinstance(stored, np.memmap) and (stored.dtype, stored.shape) == (np.float16, self.shape)
        return mapped_tensor(stored) if expected else None

    def sweep(self) -> None:
        """Remove what dead processes of an older feedloop left half-written, and its store, which is damaged."""
        self.in_one.unlink(missing_ok=True)
        for partial in self.in_one.parent.glob(".*.npy.*"):
            process = partial.suffix.removeprefix(".")
            if process.isdigit() and not _lives(int(process)):
                partial.unlink(missing_ok=True)


def cut_shards(table: TokenTable, rows: NDArray[np.int64]) -> list[Shard]:
    """Rows with tokens, ascending, in shards: those whose first tokens lie in the same SHARD_TOKENS token values."""
    start_V1 = np.asarray(table.token_start_S1)[np.asarray(table.segment_start_V1)]
    row_R = rows[start_V1[rows + 1] > start_V1[rows]]
    number_R = start_V1[row_R] // SHARD_TOKENS
    parts = np.split(row_R, np.flatnonzero(np.diff(number_R)) + 1) if len(row_R) else []
    return [Shard(row_R=part, runs=_runs(start_V1[part], start_V1[part + 1])) for part in parts]


def _runs(start_R: NDArray[np.int64], end_R: NDArray[np.int64]) -> NDArray[np.int64]:
    """Stretches [start, end), ascending and apart, united where they touch."""
    apart = start_R[1:] != end_R[:-1]
    return np.stack([start_R[np.r_[True, apart]], end_R[np.r_[apart, True]]], axis=1)


def _fill(store: _Store, split: SplitEncoder, device: torch.device, progress: Callable[[int], None]) -> None:
    items = ItemInput(store.table, device=device)
    progress(len(store.rows) - sum(len(shard.row_R) for shard in store.shards))
    with store.file.filling(store.shards) as filling:
        for shard, finished in filling.claimed(store.shards):
            if finished:
                progress(len(shard.row_R))
                continue
            output_H = torch.zeros(shard.end - shard.first, split.hidden, dtype=torch.float16)
            fill_store(split, items, shard.row_R, output_H, progress, first=shard.first)
            filling.write(shard, output_H.numpy())


def _placed(stored: Tensor, device: torch.device, reserved: int) -> Tensor:
    """A mapped store, copied to the device part by part where it fits."""
    if device.type == "cpu" or not fits(stored.nbytes, device, reserved=reserved):
        return stored
    placed = torch.empty_like(stored, device=device)
    for copy, part in zip(placed.split(SHARD_TOKENS), stored.split(SHARD_TOKENS), strict=True):
        copy.copy_(part)
    return placed


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):  # another user's, or no number of a process
        return True
    return True


def rows_needed(directory: PackedDirectory, batch_rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Item rows of the batches and of the evaluation impressions, ascending. Of an older directory, which does not list
    those, all impressions are read."""
    use = directory.item_use()
    if use is not None:
        return np.flatnonzero(use.in_batches_V | use.in_evaluation_V)
    evaluation = directory.evaluation()
    lists = [evaluation[name].combine_chunks().flatten().to_numpy() for name in ("history_row", "shown_row")]
    rows = np.unique(np.concatenate([batch_rows, *lists]))
    return np.asarray(rows[rows != PAD_ROW], np.int64)  # unlabelled impressions may show news without an item
