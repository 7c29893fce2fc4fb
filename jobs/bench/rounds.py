"""Rounds: policies timed in turns, so that other work on the machine meets all of them; ratios from paired rounds.

What a click costs in encodes is counted, what an encode costs in seconds is timed. So rounds of different content can
be compared, and of a packed step that naive_per_target cuts into several steps a few are timed and the rest planned.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from statistics import median
from typing import Any, Literal

from jobs.bench.policy_speed import Portion, timed_portion
from trainer.loop.steps import PlannedStep
from trainer.loop.trainer import Trainer

By = Literal["processor", "wall"]
WORTHLESS = 1 / 3  # of the median: where a round is further away, the rounds tell nothing
_BOUND = {"cached", "carried", "accumulated"}  # what a step of these encodes depends on the steps before it


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """Some packed steps of a policy."""

    timed: Portion
    targets: int
    """of all its steps, timed or planned"""
    encoded: int
    """the same"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratio:
    """How much faster than another policy: the median of paired rounds, and how far these reach."""

    median: float
    low: float
    high: float

    @property
    def clear(self) -> bool:
        """Whether the rounds agree so well that the median means something."""
        return self.low >= (1 - WORTHLESS) * self.median and self.high <= (1 + WORTHLESS) * self.median


def measure_of(trainer: Trainer) -> By:
    """The seconds that compare policies. Processor seconds hardly depend on other work, but know nothing of a GPU."""
    return "processor" if trainer.device.type == "cpu" else "wall"


def in_turns(
    trainers: Mapping[str, Trainer], rounds: int, *, steps: int, progress: Callable[[int, int], None]
) -> dict[str, list[Round]]:
    """`rounds` rounds of each, after a warm-up one; the first policy alternates by round. `progress`: (done, of).

    A round has `steps` packed steps; where vectors or gradients are kept from step to step, planner.accumulate_steps
    times as many, to the next update of the encoder.
    """
    names, found = list(trainers), {name: [] for name in trainers}  # type: list[str], dict[str, list[Round]]
    with ExitStack() as opened:
        ahead = {name: opened.enter_context(closing(_without_end(trainers[name]))) for name in names}
        for number in range(rounds + 1):
            first = number % len(names)
            for place, name in enumerate([*names[first:], *names[:first]], start=1):
                found[name].append(_round(trainers[name], ahead[name], steps))
                progress(number * len(names) + place, (rounds + 1) * len(names))
    return {name: every[1:] for name, every in found.items()}


def _without_end(trainer: Trainer) -> Generator[PlannedStep, None, None]:
    """The steps from where the trainer stands on, epoch after epoch."""
    while True:
        with closing(trainer.epoch_steps()) as steps:
            yield from steps
        trainer.position.epoch, trainer.position.epoch_step = trainer.position.epoch + 1, 0


def _round(trainer: Trainer, ahead: Iterator[PlannedStep], steps: int) -> Round:
    planner = trainer.config.planner
    packed_steps = steps * (planner.accumulate_steps if planner.policy in _BOUND else 1)
    few = planner.policy == "naive_per_target"  # keeps nothing: steps may be left out
    taken = timed_portion(trainer, _first(ahead, packed_steps, at_most=steps if few else None))
    targets, encoded = taken.targets, taken.encoded
    while taken.packed_steps < packed_steps:  # planned alone
        step = next(ahead)
        targets, encoded = targets + step.targets, encoded + step.plan.encoded
        taken.packed_steps += step.completes
    return Round(timed=taken, targets=targets, encoded=encoded)


def _first(ahead: Iterator[PlannedStep], packed_steps: int, *, at_most: int | None) -> Iterator[PlannedStep]:
    """Steps until so many packed ones are complete and the encoder updated, or until `at_most` have come."""
    complete = came = 0
    for step in ahead:
        yield step
        complete, came = complete + step.completes, came + 1
        if came == at_most or (complete >= packed_steps and step.completes and step.plan.update_encoder):
            return


def clicks_per_second(every: Sequence[Round], by: By) -> list[float]:
    """Of each round, were its encodes per click those of all rounds."""
    encodes_per_click = max(1, sum(each.encoded for each in every)) / sum(each.targets for each in every)
    return [max(1, each.timed.encoded) / _seconds(each, by) / encodes_per_click for each in every]


def ratio(mine: Sequence[Round], first: Sequence[Round], by: By) -> Ratio:
    """Clicks per second ÷ the other policy's of the same round."""
    pairs = zip(clicks_per_second(mine, by), clicks_per_second(first, by), strict=True)
    every = [own / other for own, other in pairs]
    return Ratio(median=median(every), low=min(every), high=max(every))


def figures(every: Sequence[Round]) -> dict[str, Any]:
    """What the rounds of one policy say by themselves."""
    seconds, processor = (sum(_seconds(each, by) for each in every) for by in ("wall", "processor"))
    return {
        "clicks_per_second": median(clicks_per_second(every, "wall")),
        "clicks_per_processor_second": median(clicks_per_second(every, "processor")),
        "processors": processor / seconds,
        "rounds": len(every),
        "targets": sum(each.targets for each in every),
        "encoded": sum(each.encoded for each in every),
        "seconds": seconds,
        "processor_seconds": processor,
    }


def compared(found: Ratio, by: By) -> dict[str, Any]:
    """A ratio as it is kept: without the number where it is worthless."""
    return {
        "speed_up": found.median if found.clear else None,
        "speed_up_low": found.low,
        "speed_up_high": found.high,
        "speed_up_by": by,
    }


def _seconds(each: Round, by: By) -> float:
    return each.timed.processor_seconds if by == "processor" else each.timed.seconds
