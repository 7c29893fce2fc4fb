"""Cuts item rows into chunks of fixed size, encoded together; each has its own seed, so that it can be replayed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

IntArray = NDArray[np.integer[Any]]

# Item rows (C,) on the host -> vectors (C, D). The vectors of padding rows are never read.
Encode = Callable[[IntArray], Tensor]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def hash64(*parts: int | IntArray) -> NDArray[np.uint64]:
    """Hashes integers with splitmix64's finaliser, part by part; arrays broadcast. For coin tosses and seeds."""
    state: NDArray[np.uint64] = np.zeros((), np.uint64)
    with np.errstate(over="ignore"):
        for part in parts:
            word = np.asarray(part, np.int64).astype(np.uint64)
            state = (state ^ word) * np.uint64(0xD6E8FEB86659FD93) + _GOLDEN
            state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            state = state ^ (state >> np.uint64(31))
    return np.asarray(state)


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """Item rows that are encoded in one call."""

    rows_C: IntArray
    """item rows, padded with row 0"""
    slots: IntArray
    """positions of the first len(slots) rows in the plan's `rows_N`; the rest is padding"""
    seed: int
    """of the chunk's dropout"""

    @property
    def items(self) -> int:
        """The number of rows that are not padding."""
        return len(self.slots)

    @property
    def item_rows(self) -> IntArray:
        """The rows without the padding."""
        return self.rows_C[: self.items]


def cut_chunks(
    rows: IntArray, slots: IntArray, *, sizes: Sequence[int], seed_parts: Sequence[int]
) -> tuple[Chunk, ...]:
    """Chunks of the largest size that the remaining rows fill, the last one padded.

    A chunk's seed is a hash of `seed_parts` and its number.
    """
    chunks: list[Chunk] = []
    start = 0
    while start < len(rows):
        left = len(rows) - start
        size = max((size for size in sizes if size <= left), default=min(sizes))
        taken = min(size, left)
        padded = np.zeros(size, np.int64)
        padded[:taken] = rows[start : start + taken]
        seed = int(hash64(*seed_parts, len(chunks)) >> np.uint64(1))
        chunks.append(Chunk(rows_C=padded, slots=slots[start : start + taken], seed=seed))
        start += taken
    return tuple(chunks)


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Sets torch's generators to `seed` inside and restores them: a chunk's dropout depends on its seed alone."""
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        yield
