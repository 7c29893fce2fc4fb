"""The plan of one rank for one step, in integers, and the interface and memory of the planners that make it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from trainer.encode.chunks import Chunk
from trainer.encode.cutting import IntArray

BoolArray = NDArray[np.bool_]

NEVER = -1
MOST_STEPS = 2**31 - 1  # of all runs that continue one another: last_encode_V holds 32-bit integers


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """How one step changes a PlannerState. Its size depends on the items of the step, not on the number of items."""

    step: int
    encoded: IntArray
    """item rows that this rank, or one that shares encoding with it, encodes"""
    since_rows: IntArray | None = None
    """carried: item rows whose `waiting_since_V` changes"""
    since: IntArray | None = None
    """carried: their new values"""
    window_start: int = 0
    window: tuple[Chunk, ...] = ()
    """this and `window_start`: as in PlannerState"""


@dataclass(slots=True, kw_only=True)
class PlannerState:
    """Everything that a planner remembers after a step."""

    last_encode_V: IntArray
    """the step in which each item was last encoded; NEVER if it was not"""
    waiting_since_V: IntArray | None = None
    """carried: the step of the oldest gradient that waits for each item; NEVER if none waits"""
    window_start: int = 0
    """accumulated: the first step after the encoder's last update"""
    window: tuple[Chunk, ...] = ()
    """accumulated: the chunks encoded since then"""

    def apply(self, change: Change) -> None:
        """Moves on to the state after the change's step. Changes are applied in the order of steps."""
        self.last_encode_V[change.encoded] = change.step
        if self.waiting_since_V is not None and change.since_rows is not None:
            self.waiting_since_V[change.since_rows] = change.since
        self.window_start, self.window = change.window_start, change.window

    def copy(self) -> PlannerState:
        """A copy that shares no array that `apply` writes to."""
        since_V = None if self.waiting_since_V is None else self.waiting_since_V.copy()
        return replace(self, last_encode_V=self.last_encode_V.copy(), waiting_since_V=since_V)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The state as integer arrays for a checkpoint. They are views: call it on a copy, or read them before the
        next change."""
        no_rows = np.zeros(0, np.int64)
        arrays = {
            "last_encode_V": self.last_encode_V,
            "window_start": np.array([self.window_start], np.int64),
            "chunk_rows": np.concatenate([no_rows, *(chunk.rows_C for chunk in self.window)]),
            "chunk_size": np.array([len(chunk.rows_C) for chunk in self.window], np.int64),
            "chunk_items": np.array([chunk.items for chunk in self.window], np.int64),
            "chunk_seed": np.array([chunk.seed for chunk in self.window], np.int64),
        }
        return arrays if self.waiting_since_V is None else {**arrays, "waiting_since_V": self.waiting_since_V}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> PlannerState:
        """The inverse of `arrays`."""
        rows = np.split(arrays["chunk_rows"], np.cumsum(arrays["chunk_size"])[:-1]) if len(arrays["chunk_size"]) else []
        return cls(
            last_encode_V=arrays["last_encode_V"],
            waiting_since_V=arrays.get("waiting_since_V"),
            window_start=int(arrays["window_start"][0]),
            window=tuple(
                Chunk(rows_C=rows_C, slots=np.arange(items), seed=int(seed))
                for rows_C, items, seed in zip(rows, arrays["chunk_items"], arrays["chunk_seed"], strict=True)
            ),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """What happens to the gradients that wait in the vector table for a later step: masks over the plan's rows."""

    keep_N: BoolArray
    """add the leaf's gradient of this step to the waiting one"""
    collect_N: BoolArray
    """add the waiting gradient to this step's backward"""
    clear_N: BoolArray
    """remove the waiting gradient from the table: it is collected, or too old"""
    per_count: bool
    """Gradients wait divided by the count of their own step and are collected times the count of the collecting step,
    so that the optimiser's single division by the count is right."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What one rank encodes, looks up and back-propagates in one step."""

    step: int
    rows_N: IntArray
    """item rows of the leaf"""
    inverse_M: IntArray
    """position of each requested item in `rows_N`"""
    read_rows: int
    """The head reads the first `read_rows` rows. The others are there for the gradients that wait for them."""
    age_L: IntArray
    """steps since the encode of each row that is looked up"""
    encode: tuple[Chunk, ...]
    """encoded before the head runs"""
    backward: tuple[Chunk, ...]
    """back-propagated after it; slots point at `rows_N`"""
    update_encoder: bool
    """whether the encoder's optimiser steps; depends on the step alone"""
    waiting: Waiting | None
    """None: no gradient outlives its step"""
    exchanged: IntArray | None = None
    """slots of the rows that this rank or another encodes in this step, ascending; None: ranks share no encoding"""
    change: Change
    """How the step changes the planner's state. A checkpoint needs it: the planner itself runs steps ahead."""

    @property
    def encoded(self) -> int:
        """The number of items encoded in this step, without padding."""
        return sum(chunk.items for chunk in self.encode)

    @property
    def looked_up(self) -> int:
        """The number of items whose vectors the head reads from the table."""
        return len(self.age_L)

    @property
    def dropped(self) -> int:
        """The number of items whose waiting gradients are dropped because they are too old."""
        return 0 if self.waiting is None else int(np.sum(self.waiting.clear_N & ~self.waiting.collect_N))


class MaxAgeChange(NamedTuple):
    """From `first_step` on, vectors older than `max_age_steps` are encoded again."""

    first_step: int
    max_age_steps: int


# Rank -> item rows that its head requests. Only a planner that shares encoding needs those of other ranks.
RequestedItems = Mapping[int, IntArray] | Sequence[IntArray]


class Planner(Protocol):
    """The interface of every policy."""

    def plan(self, step: int, requested: RequestedItems, *, last: bool = False) -> Plan:
        """The plan of this rank for `step`. `last`: the epoch ends here, and no gradient may wait beyond it."""
        ...

    def lower_max_age(self, changes: Sequence[MaxAgeChange]) -> None:
        """Lowers the maximum age of vectors in steps that are not planned yet. `changes`: all of the run, in order."""
        ...

    def state_dict(self) -> PlannerState:
        """A copy of the planner's state after the last plan."""
        ...

    def load_state_dict(self, state: PlannerState) -> None:
        """Resumes from `state`. ContractError if it has another number of item rows."""
        ...
