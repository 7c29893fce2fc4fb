"""Schedule: the factor on the peak learning rates at each step, also of a run that is extended."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple


class Stretch(NamedTuple):
    """From `first_step` on, the run has `steps` steps in total."""

    first_step: int
    steps: int


@dataclass(frozen=True, slots=True)
class Schedule:
    """Rises linearly over the warm-up and falls linearly to the end.

    After an extension the rate moves linearly from its present value to that of a run of the new length, over
    `warm_up_share` of the steps that are left, and follows that run from there.
    """

    warm_up_share: float
    stretches: tuple[Stretch, ...]

    @classmethod
    def of(cls, stretches: Iterable[Sequence[int]], warm_up_share: float) -> Schedule:
        """ValueError unless each stretch starts later than the one before, within it, and makes the run longer."""
        found = tuple(Stretch(int(first), int(steps)) for first, steps in stretches)
        rising = all(a.first_step < b.first_step and a.steps < b.steps for a, b in itertools.pairwise(found))
        inside = all(b.first_step <= a.steps for a, b in itertools.pairwise(found))
        if not found or found[0].first_step != 0 or not rising or not inside:
            raise ValueError(f"a schedule of stretches {str(found)[:80]}")
        return cls(warm_up_share, found)

    @property
    def steps(self) -> int:
        """Total steps of the run."""
        return self.stretches[-1].steps

    def extended(self, first_step: int, steps: int) -> Schedule:
        """The schedule of a run that has `steps` steps from `first_step` on."""
        earlier = [each for each in self.stretches if each.first_step < first_step]
        if not earlier:
            return Schedule.of([(0, steps)], self.warm_up_share)
        return Schedule.of([*earlier, (first_step, steps)], self.warm_up_share)

    def factor(self, step: int) -> float:
        """The factor of the step with this number, counted from 0."""
        return _factor(step, self.stretches, self.warm_up_share)

    def explained(self) -> str:
        """A sentence for people: the rate from the last stretch's first step on."""
        first, steps = self.stretches[-1]
        if first == 0:
            return f"the learning rate falls to 0 at step {steps}"
        there = first + _warm_up(steps - first, self.warm_up_share)
        then = f"{schedule(there, steps, self.warm_up_share):.2f} of its peak"
        now = f"{_factor(first, self.stretches[:-1], self.warm_up_share):.2f}"
        return (
            f"from step {first} on the run has {steps} steps: until step {there} the learning rate moves linearly "
            f"from {now} to {then}, and then falls to 0 at step {steps}"
        )


def schedule(step: int, steps: int, warm_up_share: float) -> float:
    """Factor on the peak rate: rises linearly over the warm-up, falls linearly to the end."""
    warm_up = _warm_up(steps, warm_up_share)
    if step < warm_up:
        return (step + 1) / warm_up
    return max(0.0, (steps - step) / max(1, steps - warm_up))


def _factor(step: int, stretches: tuple[Stretch, ...], warm_up_share: float) -> float:
    *earlier, (first, steps) = stretches
    if step < first:
        return _factor(step, tuple(earlier), warm_up_share)
    way = _warm_up(steps - first, warm_up_share)
    if not earlier or step >= first + way:
        return schedule(step, steps, warm_up_share)
    start, end = _factor(first, tuple(earlier), warm_up_share), schedule(first + way, steps, warm_up_share)
    return start + (end - start) * (step - first + 1) / (way + 1)


def _warm_up(steps: int, share: float) -> int:
    return max(1, round(share * steps))
