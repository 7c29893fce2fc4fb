"""Decides what to read next: a pure function of (seed, epoch, batches per step, steps done, rank, world).

Superblocks are shuffled each epoch and joined end to end. A step is the next `batches_per_step` batches of this line;
it may span two superblocks, and only the last step is short. Rank r takes batches r, r + W, ... of a step.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """The order in which an epoch is read. Fixed for a run; part of its config."""

    seed: int
    batches_per_step: int
    rank: int = 0
    world: int = 1

    def __post_init__(self) -> None:
        if self.batches_per_step < 1:
            raise ValueError(f"batches_per_step is {self.batches_per_step}: use 1 or more")
        if not 0 <= self.rank < self.world:
            raise ValueError(f"rank {self.rank} is not in a world of {self.world}")


@dataclass(frozen=True, slots=True)
class Place:
    """One packed batch: its superblock in packed order, and its index there."""

    superblock: int
    index: int


def epoch_line(sizes: Mapping[int, int], order: Order, epoch: int) -> list[Place]:
    """All batches of one epoch in order. `sizes` = batches of each superblock that it reads, in packed order."""
    blocks = list(sizes)
    shuffled = np.random.default_rng([order.seed, epoch]).permutation(len(blocks))
    return [Place(blocks[number], index) for number in shuffled for index in range(sizes[blocks[number]])]


def steps_per_epoch(sizes: Mapping[int, int], order: Order) -> int:
    """The number of steps of an epoch, including the short last one."""
    return -(-sum(sizes.values()) // order.batches_per_step)


def epoch_steps(sizes: Mapping[int, int], order: Order, epoch: int, *, first_step: int = 0) -> list[list[Place]]:
    """This rank's batches of each step from `first_step` on; empty where a step has none for it."""
    line = epoch_line(sizes, order, epoch)
    return [step[order.rank :: order.world] for step in _cut(line, order, first_step)]


def steps_of_all_ranks(sizes: Mapping[int, int], order: Order, epoch: int, *, first_step: int = 0) -> list[list[Place]]:
    """The batches of all ranks of each step from `first_step` on."""
    return _cut(epoch_line(sizes, order, epoch), order, first_step)


def _cut(line: list[Place], order: Order, first_step: int) -> list[list[Place]]:
    starts = range(first_step * order.batches_per_step, len(line), order.batches_per_step)
    return [line[start : start + order.batches_per_step] for start in starts]


def superblocks_of(steps: Sequence[Sequence[Place]]) -> list[int]:
    """The superblocks that these steps read, each once, in the order of first use."""
    return list(dict.fromkeys(place.superblock for step in steps for place in step))
