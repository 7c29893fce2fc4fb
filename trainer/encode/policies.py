"""The policies: how often an item is encoded, as pure rules on integers with their place in the papers."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from trainer.encode.chunks import hash64
from trainer.encode.cutting import IntArray
from trainer.encode.plan import NEVER, BoolArray

CPU_CHUNK_SIZES = (128, 32)
GPU_CHUNK_SIZES = (1024, 256)
_LARGEST_CHUNK = 1 << 16  # items in a chunk
_MOST_STEPS = 2**31

WAITING_POLICIES = ("accumulated", "carried")  # whose gradients may wait for a later step
Policy = Literal["naive_per_target", "naive", "once", "cached", "accumulated", "carried"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannerConfig:
    """How often an item is encoded, and in what chunks."""

    policy: Policy = "cached"
    """naive_per_target, naive: each occurrence; once: each distinct item of a step; cached: only stale ones;
    accumulated: once between two updates of the encoder; carried: cached, and no gradient is lost."""
    max_age_steps: int = 10
    """cached, carried: a vector older than this is encoded again (SpeedyFeed's gamma). 0 = always encode."""
    drift_limit: float = 0.0
    """cached, carried: halve max_age_steps when looked-up vectors are further than this from fresh ones, as a share
    of all vectors' spread and beyond what dropout does. 0 = never."""
    max_reuse: float = 0.9
    """cached, carried: share of young vectors that are looked up, once warmed up (p_max)."""
    warm_up_steps: int = 50
    """cached, carried: steps after which nine tenths of max_reuse are reached (2.3 / beta)."""
    coin: Literal["item", "batch"] = "item"
    """cached, carried: one coin per item and step, or one per step (SpeedyRec's code)."""
    accumulate_steps: int = 4
    """accumulated: steps between two updates of the encoder (GRAM's multi-step); the rates of the language model and
    of pooling are multiplied by its square root."""
    carry_max_age_steps: int = 80
    """carried: a gradient that waited longer is dropped. 0 = never."""
    share_encoding: bool = False
    """once, cached, under torchrun: each item is encoded on one process only, which costs two exchanges a step."""
    chunk_sizes: tuple[int, ...] | None = None
    """Items that are encoded together, in two or three sizes. On a GPU, or compiled, the sizes count segments half as
    long as the longest one, and chunks have at most 8 shapes. None = 128 and 32 on a CPU, 1,024 and 256 on a GPU."""

    @property
    def encoder_rate_factor(self) -> float:
        """Factor on the encoder's learning rates: `accumulated` makes fewer, larger updates."""
        return math.sqrt(self.accumulate_steps) if self.policy == "accumulated" else 1.0

    def __post_init__(self) -> None:
        if self.share_encoding and self.policy not in ("once", "cached"):
            raise ValueError(f"planner.share_encoding goes with once and cached, not with {self.policy}")
        if self.max_age_steps < 0:
            raise ValueError(f"planner.max_age_steps is {self.max_age_steps}: use 0 to always encode, or more")
        if not 0 <= self.drift_limit < math.inf:
            raise ValueError(f"planner.drift_limit is {self.drift_limit}: use 0 for no limit, or more")
        if not 0 <= self.max_reuse <= 1:
            raise ValueError(f"planner.max_reuse is {self.max_reuse}: it is a probability, use 0 to 1")
        if self.warm_up_steps < 1:
            raise ValueError(f"planner.warm_up_steps is {self.warm_up_steps}: use 1 or more")
        if self.accumulate_steps < 1:
            raise ValueError(f"planner.accumulate_steps is {self.accumulate_steps}: use 1 to update in every step")
        if self.carry_max_age_steps < 0:
            raise ValueError(f"planner.carry_max_age_steps is {self.carry_max_age_steps}: use 0 for no limit, or more")
        sizes = CPU_CHUNK_SIZES if self.chunk_sizes is None else self.chunk_sizes
        if not 1 <= len(sizes) <= 16 or min(sizes) < 1 or max(sizes) > _LARGEST_CHUNK:
            raise ValueError(
                f"planner.chunk_sizes is {self.chunk_sizes!r:.200}: name 1 to 16 sizes from 1 to {_LARGEST_CHUNK}"
            )
        for name in ("max_age_steps", "warm_up_steps", "accumulate_steps", "carry_max_age_steps"):
            if getattr(self, name) > _MOST_STEPS:
                raise ValueError(f"planner.{name} is {getattr(self, name)}: use {_MOST_STEPS} at most")


# Requested item rows (M,) -> (item rows of the leaf (N,), position of each requested item among them (M,)).
LeafRows = Callable[[IntArray], tuple[IntArray, IntArray]]

# (config, seed, step, rows (N,), step of each row's last encode (N,)) -> which rows to encode (N,).
ChooseRows = Callable[["PlannerConfig", int, int, IntArray, IntArray], BoolArray]


def distinct(requested_M: IntArray) -> tuple[IntArray, IntArray]:
    """Leaf rows with each item once, ascending."""
    rows_N, inverse_M = np.unique(requested_M, return_inverse=True)
    return rows_N, inverse_M


def occurrences(requested_M: IntArray) -> tuple[IntArray, IntArray]:
    """Leaf rows with every requested item as a row of its own: nothing is shared."""
    return requested_M, np.arange(len(requested_M))


def all_rows(_config: PlannerConfig, _seed: int, _step: int, rows_N: IntArray, _encoded_N: IntArray) -> BoolArray:
    """Encodes every row."""
    return np.ones(len(rows_N), np.bool_)


def stale_rows(config: PlannerConfig, seed: int, step: int, rows_N: IntArray, encoded_N: IntArray) -> BoolArray:
    """Encodes rows never encoded or encoded more than max_age_steps ago, and each other row with probability 1 - p,
    p = max_reuse * (1 - exp(-beta * step)) (SpeedyFeed, section 4.3)."""
    must_N: BoolArray = (encoded_N == NEVER) | (step - encoded_N > config.max_age_steps)
    reuse = config.max_reuse * -math.expm1(-2.3 / config.warm_up_steps * step)
    coin = hash64(seed, step, rows_N) if config.coin == "item" else hash64(seed, step)
    reused_N: BoolArray = coin < np.uint64(min(reuse * 2.0**64, 2.0**64 - 2048))  # 2048: the largest float below 2^64
    return np.asarray(must_N | ~reused_N)


def rank_of_each(tokens_E: IntArray, world: int) -> IntArray:
    """Which rank encodes each item where ranks share encoding. They take the longest that is left in turn, there and
    back, so that their tokens differ by one item's at most, and their items by one."""
    turn_E, place_E = np.divmod(np.arange(len(tokens_E)), world)
    rank_E = np.empty(len(tokens_E), np.int64)
    rank_E[np.argsort(-tokens_E, kind="stable")] = np.where(turn_E % 2, world - 1 - place_E, place_E)
    return rank_E
