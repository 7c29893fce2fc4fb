"""Decides what to read next: a pure function of (seed, epoch, batches per step, streams) and of the manifest's counts.

An epoch's superblocks are shuffled and divided into K streams of equal length; a step is the next `batches_per_step`
batches, taken from the streams in turn. So a step never depends on the number of ranks, of which each reads the
superblocks of its own streams. Only the last step is short.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

IntArray = NDArray[np.int64]

_WINDOW = 8  # superblocks of a stream among which those of similar cost are chosen: larger is more even, less random


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """The order in which an epoch is read; fixed for a run, but for the number of ranks."""

    seed: int
    batches_per_step: int
    streams: int = 1
    """K: parts of an epoch that are read at the same time"""
    rank: int = 0
    world: int = 1

    def __post_init__(self) -> None:
        if self.batches_per_step < 1:
            raise ValueError(f"batches_per_step is {self.batches_per_step}: use 1 or more")
        if self.streams < 1:
            raise ValueError(f"streams is {self.streams}: use 1 or more")
        if not 0 <= self.rank < self.world:
            raise ValueError(f"rank {self.rank} is not in a world of {self.world}")

    def rank_of(self, place_N: IntArray) -> IntArray:
        """The rank that trains on each of these places in the epoch's line (N,).

        Stream k belongs to rank k modulo W. Where W does not divide K, ranks with the same remainder modulo their
        greatest common divisor take turns within a step, so that each has the same number of batches.
        """
        common = math.gcd(self.streams, self.world)
        turn_N = place_N % self.batches_per_step // common
        return place_N % common + common * (turn_N % (self.world // common))


@dataclass(frozen=True, slots=True, kw_only=True)
class Blocks:
    """The superblocks that an epoch reads, in packed order (B,)."""

    number_B: IntArray
    size_B: IntArray
    """batches of each"""
    cost_B: IntArray
    """items of its batches, in sum"""

    @property
    def batches(self) -> int:
        """Batches of the epoch."""
        return int(self.size_B.sum())


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """All batches of one epoch in the order in which steps take them (N,)."""

    batch_N: IntArray
    """number of each batch among those of the epoch in packed order"""
    superblock_N: IntArray
    index_N: IntArray
    """its index in its superblock"""
    rank_N: IntArray
    """the rank that trains on it"""
    batches_per_step: int

    def steps(self, *, first_step: int = 0, rank: int | None = None) -> Iterator[IntArray]:
        """The places in the line of each step's batches, of one rank or of all; empty where a step has none for it."""
        for start in range(first_step * self.batches_per_step, len(self.batch_N), self.batches_per_step):
            yield self._places(start, start + self.batches_per_step, rank)

    def last_places(self, *, first_step: int = 0, rank: int | None = None) -> dict[int, int]:
        """Superblock -> the last place in the line that needs it, in the order in which steps first need them."""
        place_M = self._places(first_step * self.batches_per_step, len(self.batch_N), rank)
        return dict(zip(self.superblock_N[place_M].tolist(), place_M.tolist(), strict=True))

    def _places(self, start: int, end: int, rank: int | None) -> IntArray:
        place_M = np.arange(start, min(end, len(self.batch_N)))
        return place_M if rank is None else place_M[self.rank_N[place_M] == rank]


def epoch_line(blocks: Blocks, order: Order, epoch: int) -> Line:
    """The batches of an epoch in the order of its steps."""
    start_B = np.cumsum(blocks.size_B) - blocks.size_B
    batch_N = _in_turn(blocks, start_B, order.streams, np.random.default_rng([order.seed, epoch]))
    block_N = np.repeat(np.arange(len(start_B)), blocks.size_B)[batch_N]
    return Line(
        batch_N=batch_N,
        superblock_N=blocks.number_B[block_N],
        index_N=batch_N - start_B[block_N],
        rank_N=order.rank_of(np.arange(len(batch_N))),
        batches_per_step=order.batches_per_step,
    )


def steps_per_epoch(blocks: Blocks, order: Order) -> int:
    """The number of steps of an epoch, including the short last one."""
    return -(-blocks.batches // order.batches_per_step)


def _in_turn(blocks: Blocks, start_B: IntArray, streams: int, rng: np.random.Generator) -> IntArray:
    """The epoch's batches, one from each stream in turn.

    Superblocks of one size and similar cost begin at the same time, one in each stream. Those that are left over are
    cut into an equal part for each stream, somewhere in the epoch; what is left of them ends it.
    """
    shuffled_B = rng.permutation(len(start_B))
    if streams == 1:
        return _joined(shuffled_B, start_B, blocks.size_B)
    together_UK, left = _groups(shuffled_B, blocks, streams)
    together_UK = rng.permuted(rng.permutation(together_UK), axis=1)
    cut = _joined(rng.permutation(left), start_B, blocks.size_B)
    parts, rest = np.split(cut, [len(cut) - len(cut) % streams])
    between = rng.integers(len(together_UK) + 1)
    line = np.full((-(-blocks.batches // streams), streams), -1)
    for stream, part in enumerate(parts.reshape(streams, -1)):
        own_U = together_UK[:, stream]
        before, after = (_joined(own, start_B, blocks.size_B) for own in (own_U[:between], own_U[between:]))
        batches = np.concatenate([before, part, after, rest[stream : stream + 1]])
        line[: len(batches), stream] = batches
    return line[line >= 0]


def _groups(shuffled_B: IntArray, blocks: Blocks, streams: int) -> tuple[IntArray, IntArray]:
    """(superblocks for all streams at the same time (U, K), those that are left over)."""
    by_size = shuffled_B[np.argsort(blocks.size_B[shuffled_B], kind="stable")]
    _, first, count = np.unique(blocks.size_B[by_size], return_index=True, return_counts=True)
    number_B = np.arange(len(by_size)) - np.repeat(first, count)  # among those of its size
    full_B = number_B < np.repeat(count - count % streams, count)
    even, window = by_size[full_B], number_B[full_B] // (_WINDOW * streams)
    similar = np.lexsort((blocks.cost_B[even], window, blocks.size_B[even]))
    return even[similar].reshape(-1, streams), by_size[~full_B]


def _joined(chosen: IntArray, start_B: IntArray, size_B: IntArray) -> IntArray:
    """The batches of these superblocks, end to end."""
    size = size_B[chosen]
    first_batch: IntArray = np.repeat(start_B[chosen] - np.cumsum(size) + size, size)
    return first_batch + np.arange(len(first_batch))
