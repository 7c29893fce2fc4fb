"""Stores the frozen layers' output on disk, so that it is computed once for all runs over the same data and model."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from schemas.news import PAD_ROW
from schemas.space import NoSpaceError, space_for
from schemas.token_table import file_of
from trainer.cost.memory import fits
from trainer.data.directory import PackedDirectory
from trainer.model.frozen import fill_store, frozen_key
from trainer.model.item_input import ItemInput
from trainer.model.split_encoder import SplitEncoder


def frozen_store(
    split: SplitEncoder,
    directory: PackedDirectory,
    folder: Path,
    *,
    rows: NDArray[np.int64],
    device: torch.device,
    progress: Callable[[int], None] = lambda _: None,
) -> Tensor:
    """Half-precision output of the frozen layers, token by token (token values x H), on the device where it fits, else
    memory-mapped on the CPU.

    The file is complete or absent: it is written under another name and renamed when full. Tokens of other rows are
    left unwritten.
    """
    target = _file(split, directory, folder, rows)
    if not target.exists():
        folder.mkdir(parents=True, exist_ok=True)
        table = directory.token_table()
        partial = target.with_name(f".{target.name}.{os.getpid()}")
        shape = (len(table.token_values), split.hidden)
        output = _reserved(partial, shape, target)
        fill_store(split, ItemInput(table, device=device), rows, torch.from_numpy(output), progress)
        output.flush()
        partial.rename(target)
    return _opened(target, device)


def _reserved(partial: Path, shape: tuple[int, int], target: Path) -> np.memmap[Any, np.dtype[np.float16]]:
    """A mapped file with its disk space allocated: writing into a hole on a full disk would kill the process."""
    needed = 2 * shape[0] * shape[1]
    try:
        with space_for(target, needed):
            output: np.memmap[Any, np.dtype[np.float16]] = np.lib.format.open_memmap(
                partial, mode="w+", dtype=np.float16, shape=shape
            )
            with partial.open("r+b") as stream:
                os.posix_fallocate(stream.fileno(), 0, partial.stat().st_size)
    except NoSpaceError:
        partial.unlink(missing_ok=True)
        raise
    return output


def found_store(
    split: SplitEncoder, directory: PackedDirectory, folder: Path, *, rows: NDArray[np.int64], device: torch.device
) -> Tensor | None:
    """The store that `frozen_store` made for these rows; None if there is none."""
    target = _file(split, directory, folder, rows)
    return _opened(target, device) if target.exists() else None


def _file(split: SplitEncoder, directory: PackedDirectory, folder: Path, rows: NDArray[np.int64]) -> Path:
    tokens_sha256 = "".join(e.sha256 for e in directory.manifest.files if e.path == file_of("token_values"))
    return folder / f"{frozen_key(split, rows, tokens_sha256)}.npy"


def _opened(target: Path, device: torch.device) -> Tensor:
    stored = torch.from_numpy(np.load(target, mmap_mode="r+"))  # r+: torch wants a writable map; nothing writes to it
    return stored.to(device) if fits(stored.nbytes, device) else stored


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
