"""Plan: what one rank does in one step, in integers; and the interface of the planners that decide it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from trainer.encode.chunks import Chunk, IntArray

BoolArray = NDArray[np.bool_]

NEVER = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What a planner remembers of one step: as much as the step touched, however many items there are.

    `encoded`: the item rows that this rank, or one that shares with it, encodes. `since_rows`, `since` (carried): the
    rows whose waiting gradient is now of another step, and which. `window_start`, `window`: as in PlannerState.
    """

    step: int
    encoded: IntArray
    since_rows: IntArray | None = None
    since: IntArray | None = None
    window_start: int = 0
    window: tuple[Chunk, ...] = ()


@dataclass(slots=True, kw_only=True)
class PlannerState:
    """Everything that a planner remembers after a step, by item row (V) or chunk.

    `last_encode_V`: the step at which each item was last encoded, NEVER if not.
    `waiting_since_V` (carried): the step of the oldest gradient that waits for an item, NEVER if none does.
    `window_start`, `window` (accumulated): the first step since the encoder's last update, the chunks encoded since.
    """

    last_encode_V: IntArray
    waiting_since_V: IntArray | None = None
    window_start: int = 0
    window: tuple[Chunk, ...] = ()

    def move_on(self, change: Change) -> None:
        """Become what the planner remembered after the change's step; changes come in the order of steps."""
        self.last_encode_V[change.encoded] = change.step
        if self.waiting_since_V is not None and change.since_rows is not None:
            self.waiting_since_V[change.since_rows] = change.since
        self.window_start, self.window = change.window_start, change.window

    def copy(self) -> PlannerState:
        """The same, which no change of this one reaches."""
        since_V = None if self.waiting_since_V is None else self.waiting_since_V.copy()
        return replace(self, last_encode_V=self.last_encode_V.copy(), waiting_since_V=since_V)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """As arrays of integers, for a checkpoint: read them before the next change, or of a copy."""
        nothing = np.zeros(0, np.int64)
        arrays = {
            "last_encode_V": self.last_encode_V,
            "window_start": np.array([self.window_start], np.int64),
            "chunk_rows": np.concatenate([nothing, *(chunk.rows_C for chunk in self.window)]),
            "chunk_size": np.array([len(chunk.rows_C) for chunk in self.window], np.int64),
            "chunk_items": np.array([chunk.items for chunk in self.window], np.int64),
            "chunk_seed": np.array([chunk.seed for chunk in self.window], np.int64),
        }
        return arrays if self.waiting_since_V is None else {**arrays, "waiting_since_V": self.waiting_since_V}

    @classmethod
    def of(cls, arrays: Mapping[str, NDArray[Any]]) -> PlannerState:
        """The inverse of arrays()."""
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
    """What becomes of the gradients that wait in the vector table for a later step's backward; masks over the rows.

    `keep_N`: the row's leaf gradient of this step joins them. `collect_N`: they join this step's backward.
    `clear_N`: they leave the table, collected or too old. `per_count`: they are kept divided by the count of their
    own step, and multiplied by that of the step which collects them, so that the optimiser's one division is right.
    """

    keep_N: BoolArray
    collect_N: BoolArray
    clear_N: BoolArray
    per_count: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """`rows_N` are the leaf's; the head reads the first `read_rows` of them, and `inverse_M` finds each asked item
    there. The others are present for the gradients that wait for them."""

    step: int
    rows_N: IntArray
    inverse_M: IntArray
    read_rows: int
    age_L: IntArray
    """steps since the encode of each row that is looked up"""
    encode: tuple[Chunk, ...]
    """encoded before the head runs"""
    backward: tuple[Chunk, ...]
    """back-propagated after it; slots point at rows_N"""
    update_encoder: bool
    """the encoder's optimiser steps; depends on the step alone"""
    waiting: Waiting | None
    """None: no gradient outlives its step"""
    exchanged: IntArray | None = None
    """slots of the rows that this rank or another encodes in this step, ascending; None: ranks share nothing"""
    change: Change
    """what it changes in the planner's memory: the planner itself runs ahead of what a checkpoint is of"""

    @property
    def encoded(self) -> int:
        """Items encoded in this step, padding left out."""
        return sum(chunk.items for chunk in self.encode)

    @property
    def looked_up(self) -> int:
        """Items that the head reads from the table."""
        return len(self.age_L)

    @property
    def dropped(self) -> int:
        """Items whose waiting gradients were too old."""
        return 0 if self.waiting is None else int(np.sum(self.waiting.clear_N & ~self.waiting.collect_N))


class MaxAgeChange(NamedTuple):
    """From `first_step` on, a vector lives for `max_age_steps`."""

    first_step: int
    max_age_steps: int


# Rank -> the item rows that its head asks for; of other ranks only what a planner needs to know.
RequestedItems = Mapping[int, IntArray] | Sequence[IntArray]


class Planner(Protocol):
    """The interface of every policy."""

    def plan(self, step: int, asked: RequestedItems, *, last: bool = False) -> Plan:
        """The plan of this rank for `step`.

        `last`: the epoch ends here, and no gradient may wait beyond it.
        """
        ...

    def shorten(self, changes: Sequence[MaxAgeChange]) -> None:
        """Shorten the life of vectors, in steps that are not planned yet. `changes`: all of the run, in order."""
        ...

    def state_dict(self) -> PlannerState:
        """The planner's memory after the last plan, a copy."""
        ...

    def load_state_dict(self, state: PlannerState) -> None:
        """Go on from `state`; ContractError if it is of another token table."""
        ...
