"""A chunk: item rows that are encoded together; each has its own seed, so that it can be replayed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainer.encode.cutting import Cut, IntArray

ChunkInput = Mapping[str, Tensor]  # the input of one chunk of C items, on the device, by name


class Encode(Protocol):
    """Encodes chunks and back-propagates them."""

    def __call__(self, tensors: ChunkInput, /) -> Tensor:
        """A chunk's vectors (C, D); those of padding rows are never read."""

    def backward(self, vector_CD: Tensor, gradient_CD: Tensor, *, last: bool) -> None:
        """Back-propagates a chunk's vectors; `last`: no other chunk of this step comes after it."""


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


def chunks_of(cuts: Sequence[Cut], rows: IntArray, slots: IntArray, *, seed_parts: Sequence[int]) -> tuple[Chunk, ...]:
    """The cuts of `rows` as chunks; `slots`: position of each row in the plan. A chunk's seed is a hash of `seed_parts`
    and its number."""
    chunks: list[Chunk] = []
    for number, (places, size) in enumerate(cuts):
        padded = np.zeros(size, np.int64)
        padded[: len(places)] = rows[places]
        seed = int(hash64(*seed_parts, number) >> np.uint64(1))
        chunks.append(Chunk(rows_C=padded, slots=slots[places], seed=seed))
    return tuple(chunks)


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Sets the device's generator to `seed` inside and restores it: a chunk's dropout depends on its seed alone."""
    generator = torch.default_generator
    if device.type == "cuda":
        generator = torch.cuda.default_generators[torch.cuda.current_device() if device.index is None else device.index]
    before = generator.get_state()
    generator.manual_seed(seed)
    try:
        yield
    finally:
        generator.set_state(before)
