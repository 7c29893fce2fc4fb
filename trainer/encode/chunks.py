"""Chunks: fixed-size groups of item rows, encoded together, each with a seed of its own so that it can be replayed."""

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

# Item rows (C,), on the host, -> vectors (C, D). Pad rows give some vector that nobody reads.
Encode = Callable[[IntArray], Tensor]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def hash64(*parts: int | IntArray) -> NDArray[np.uint64]:
    """Hash of integers by splitmix64's finaliser, folded part by part; arrays broadcast. For coins and seeds."""
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
    """`rows_C` padded with row 0; `slots` = where the first len(slots) of them stand in the plan's rows."""

    rows_C: IntArray
    slots: IntArray
    seed: int

    @property
    def items(self) -> int:
        """Rows that are not padding."""
        return len(self.slots)


def cut_chunks(
    rows: IntArray, slots: IntArray, *, sizes: Sequence[int], seed_parts: Sequence[int]
) -> tuple[Chunk, ...]:
    """Chunks of the largest size that they fill, the last one padded; seed = f(seed parts, chunk number)."""
    chunks: list[Chunk] = []
    start = 0
    while start < len(rows):
        left = len(rows) - start
        size = max((s for s in sizes if s <= left), default=min(sizes))
        taken = min(size, left)
        padded = np.zeros(size, np.int64)
        padded[:taken] = rows[start : start + taken]
        seed = int(hash64(*seed_parts, len(chunks)) >> np.uint64(1))
        chunks.append(Chunk(rows_C=padded, slots=slots[start : start + taken], seed=seed))
        start += taken
    return tuple(chunks)


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Run with torch's generator at `seed`, then put it back: dropout in a chunk depends on nothing else."""
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        yield
