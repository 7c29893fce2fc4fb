"""Planner: integers only. For each step, which items to encode, to look up and to back-propagate.

Nothing here depends on a tensor's value, so the loader thread plans ahead and the device never waits.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from schemas.errors import ContractError
from trainer.encode.chunks import Chunk, IntArray, cut_chunks, mix

BoolArray = NDArray[np.bool_]

NEVER = -1
Policy = Literal["naive_per_target", "naive", "once", "cached"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannerConfig:
    """How often an item is encoded."""

    policy: Policy = "cached"
    """naive_per_target, naive: each occurrence; once: each distinct item of a step; cached: only stale ones."""
    max_age_steps: int = 10
    """cached: a vector older than this is encoded again (SpeedyFeed's gamma). 0 = always encode."""
    max_reuse: float = 0.9
    """cached: share of young vectors that are looked up, once warmed up (p_max)."""
    warm_up_steps: int = 50
    """cached: steps after which nine tenths of max_reuse are reached (2.3 / beta)."""
    coin: Literal["item", "batch"] = "item"
    """cached: one coin per item and step, or one per step (SpeedyRec's code)."""
    chunk_sizes: tuple[int, ...] = (128, 32)
    """Items that are encoded together; two or three sizes, so that a compiler sees few shapes."""

    def __post_init__(self) -> None:
        if self.max_age_steps < 0:
            raise ValueError(f"planner.max_age_steps is {self.max_age_steps}: use 0 to always encode, or more")
        if not 0 <= self.max_reuse <= 1:
            raise ValueError(f"planner.max_reuse is {self.max_reuse}: it is a probability, use 0 to 1")
        if self.warm_up_steps < 1:
            raise ValueError(f"planner.warm_up_steps is {self.warm_up_steps}: use 1 or more")
        if not self.chunk_sizes or min(self.chunk_sizes) < 1:
            raise ValueError(f"planner.chunk_sizes is {self.chunk_sizes}: name one or more sizes of at least 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannerState:
    """Everything a planner remembers: the step at which each item row was last encoded, NEVER if not."""

    last_encode_V: IntArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What one rank does in one step: `rows_N` are what the head reads, `inverse_M` finds each asked item there."""

    step: int
    rows_N: IntArray
    inverse_M: IntArray
    encode: tuple[Chunk, ...]
    """encoded before the head runs"""
    backward: tuple[Chunk, ...]
    """back-propagated after it"""
    keep_gradient: bool
    """the rows' leaf gradients wait in the vector table for a later step's backward"""
    update_encoder: bool
    """the encoder's optimiser steps; depends on the step alone"""
    state: PlannerState
    """the planner as of this step, for checkpoints: the planner itself runs ahead"""

    @property
    def encoded(self) -> int:
        """Items encoded in this step, padding left out."""
        return sum(len(chunk.slots) for chunk in self.encode)


class Planner(Protocol):
    """The interface of every policy."""

    def plan(self, step: int, asked: Sequence[IntArray]) -> Plan:
        """The plan of this rank for `step`. `asked[r]` = the item rows that rank r's head asks for."""
        ...

    def state_dict(self) -> PlannerState:
        """The planner's memory after the last plan."""
        ...

    def load_state_dict(self, state: PlannerState) -> None:
        """Go on from `state`."""
        ...


Rows = Callable[[IntArray], tuple[IntArray, IntArray]]
Choose = Callable[["PlannerConfig", int, int, IntArray, IntArray], BoolArray]


def distinct(asked_M: IntArray) -> tuple[IntArray, IntArray]:
    """(each item once, ascending; where each asked item stands among them)."""
    rows_N, inverse_M = np.unique(asked_M, return_inverse=True)
    return rows_N, inverse_M


def occurrences(asked_M: IntArray) -> tuple[IntArray, IntArray]:
    """Every asked item as a row of its own: nothing is shared."""
    return asked_M, np.arange(len(asked_M))


def all_rows(_config: PlannerConfig, _seed: int, _step: int, rows_N: IntArray, _encoded_N: IntArray) -> BoolArray:
    """Encode everything."""
    return np.ones(len(rows_N), np.bool_)


def stale_rows(config: PlannerConfig, seed: int, step: int, rows_N: IntArray, encoded_N: IntArray) -> BoolArray:
    """Encode what was never encoded or more than max_age_steps ago, and of the rest each with probability 1 - p,
    p = max_reuse * (1 - exp(-beta * step)) (SpeedyFeed, section 4.3)."""
    must_N: BoolArray = (encoded_N == NEVER) | (step - encoded_N > config.max_age_steps)
    reuse = config.max_reuse * -math.expm1(-2.3 / config.warm_up_steps * step)
    coin = mix(seed, step, rows_N) if config.coin == "item" else mix(seed, step)
    reused_N: BoolArray = coin < np.uint64(min(reuse * 2.0**64, 2.0**64 - 2048))  # 2048: the largest float below 2^64
    return np.asarray(must_N | ~reused_N)


POLICIES: dict[Policy, tuple[Rows, Choose]] = {
    "naive_per_target": (occurrences, all_rows),
    "naive": (occurrences, all_rows),
    "once": (distinct, all_rows),
    "cached": (distinct, stale_rows),
}


class StepPlanner:
    """The policies without waiting gradients: what is encoded in a step is back-propagated in it."""

    def __init__(
        self, config: PlannerConfig, *, rows: int, seed: int, rank: int = 0, cost_V: IntArray | None = None
    ) -> None:
        """`rows` = V. `cost_V` = tokens of each item row: chunks of like length pad least."""
        self._config = config
        self._seed = seed
        self._rank = rank
        self._cost_V = cost_V
        self._rows, self._choose = POLICIES[config.policy]
        self._last_encode_V: IntArray = np.full(rows, NEVER, np.int32)

    def plan(self, step: int, asked: Sequence[IntArray]) -> Plan:
        """See Planner.plan."""
        rows_N, inverse_M = self._rows(asked[self._rank])
        chosen_N = self._choose(self._config, self._seed, step, rows_N, self._last_encode_V[rows_N])
        slots = np.flatnonzero(chosen_N)
        if self._cost_V is not None:
            slots = slots[np.argsort(self._cost_V[rows_N[slots]], kind="stable")]
        seed_parts = (self._seed, step, self._rank)
        chunks = cut_chunks(rows_N[slots], slots, sizes=self._config.chunk_sizes, seed_parts=seed_parts)
        self._last_encode_V[rows_N[slots]] = step
        return Plan(
            step=step,
            rows_N=rows_N,
            inverse_M=inverse_M,
            encode=chunks,
            backward=chunks,
            keep_gradient=False,
            update_encoder=True,
            state=self.state_dict(),
        )

    def state_dict(self) -> PlannerState:
        """See Planner.state_dict."""
        return PlannerState(last_encode_V=self._last_encode_V.copy())

    def load_state_dict(self, state: PlannerState) -> None:
        """See Planner.load_state_dict."""
        if len(state.last_encode_V) != len(self._last_encode_V):
            raise ContractError(
                f"planner state of {len(state.last_encode_V)} item rows, the token table has {len(self._last_encode_V)}"
            )
        self._last_encode_V = state.last_encode_V.copy()
