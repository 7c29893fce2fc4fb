"""Totals: sums over a run's steps so far, and the figures that are quotients of these sums."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, get_args

import numpy as np

from trainer.loop.steps import PlannedStep
from trainer.ranks.process_group import summed

_SUMMED = (
    "targets",
    "asked",
    "encoded",
    "looked_up",
    "dropped",
    "tokens",
    "computed_tokens",
    "flops",
    "computed_flops",
)

Spent = Literal["seconds", "starting_seconds", "evaluating_seconds", "saving_seconds"]
_SECONDS = (*get_args(Spent), "data_wait_seconds")


@dataclass(slots=True)
class Totals:
    """Sums over steps."""

    steps: int = 0
    targets: int = 0
    asked: int = 0
    """items that the heads asked for, each packed batch's counted once"""
    encoded: int = 0
    looked_up: int = 0
    looked_up_by_age: list[int] = field(default_factory=list)
    """index n: vectors that were n steps old when looked up"""
    dropped: int = 0
    """items whose waiting gradients were too old (carried)"""
    tokens: int = 0
    """of the items encoded; this and the next three as work.py counts them"""
    computed_tokens: int = 0
    flops: int = 0
    computed_flops: int = 0
    seconds: float = 0.0
    """of complete steps: waiting for data, warming up, measuring drift and writing lines are part of them"""
    data_wait_seconds: float = 0.0
    """part of `seconds`"""
    starting_seconds: float = 0.0
    """from the session's construction to its first step: restoring a checkpoint, opening trackers; of every start"""
    evaluating_seconds: float = 0.0
    """of evaluating epochs"""
    saving_seconds: float = 0.0
    """in which checkpoints kept the run from stepping, not those in which a thread wrote them"""

    def add(self, step: PlannedStep, *, waited: float) -> None:
        """Count one step."""
        self.steps += 1
        self.targets += step.targets
        self.asked += step.asked
        self.encoded += step.plan.encoded
        self.looked_up += step.plan.looked_up
        ages = np.bincount(step.plan.age_L, minlength=len(self.looked_up_by_age))
        ages[: len(self.looked_up_by_age)] += np.array(self.looked_up_by_age, np.int64)
        self.looked_up_by_age = ages.tolist()
        self.dropped += step.plan.dropped
        self.tokens += step.work.tokens
        self.computed_tokens += step.work.computed_tokens
        self.flops += step.work.flops
        self.computed_flops += step.work.computed_flops
        self.data_wait_seconds += waited

    def spend(self, what: Spent, seconds: float) -> None:
        """Count time."""
        setattr(self, what, getattr(self, what) + seconds)

    def steps_and_seconds(self) -> Totals:
        """Steps and seconds alone: what a rank that does not lead keeps of restored sums."""
        return Totals(steps=self.steps, **{name: getattr(self, name) for name in _SECONDS})

    def over_ranks(self) -> Totals:
        """The sums over all ranks; steps and seconds stay this rank's, since ranks take their steps together."""
        sums = [int(number) for number in summed([getattr(self, name) for name in _SUMMED])]
        ages = [int(number) for number in summed(self.looked_up_by_age)]
        return replace(self, **dict(zip(_SUMMED, sums, strict=True)), looked_up_by_age=ages)

    @property
    def clicks_per_second(self) -> float:
        """Valid targets / wall time of complete steps: data wait included, start, evaluations and saving not."""
        return self.targets / self.seconds if self.seconds else 0.0

    def figures(self, *, peak_flops: float) -> dict[str, float | None]:
        """Quotients of these sums over all ranks; None where the divisor is 0.

        `peak_flops`: of all devices together. Speeds and MFU cover complete steps, data wait and head included.
        """
        return {
            "clicks_per_second": self.clicks_per_second,
            "tokens_per_second": _ratio(self.tokens, self.seconds),
            "computed_tokens_per_second": _ratio(self.computed_tokens, self.seconds),
            "padding_share": _ratio(self.computed_tokens - self.tokens, self.computed_tokens),
            "encoded_per_1000_clicks": _ratio(1000 * self.encoded, self.targets),
            "cache_age_mean": _ratio(
                sum(age * count for age, count in enumerate(self.looked_up_by_age)), self.looked_up
            ),
            "cache_age_p90": age_below(self.looked_up_by_age, 0.9),
            "data_wait_share": _ratio(self.data_wait_seconds, self.seconds),
            "hardware_mfu": _ratio(self.computed_flops, self.seconds * peak_flops),
            "useful_mfu": _ratio(self.flops, self.seconds * peak_flops),
        }


def age_below(looked_up_by_age: Sequence[int], share: float) -> int | None:
    """The smallest age that at least this share of the look-ups do not exceed; None without look-ups."""
    reached = np.cumsum(np.asarray(looked_up_by_age, np.int64))
    return int(np.searchsorted(reached, share * reached[-1])) if len(reached) and reached[-1] else None


def _ratio(part: float, total: float) -> float | None:
    return part / total if total else None
