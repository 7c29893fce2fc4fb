"""Times policies in alternating rounds, so that other work on the machine affects all of them; compares paired rounds.

Encodes per click are counted, seconds per encode are timed. So rounds of different content can be compared, and when
naive_per_target divides a packed step into several steps, only a few are timed and the others are only planned.
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

Clock = Literal["processor", "wall"]
MAX_DEVIATION = 1 / 3  # of the median; if a round deviates more, the rounds have no result
_SEQUENTIAL = {"cached", "carried", "accumulated"}  # policies whose encodes in a step depend on earlier steps


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """Figures of some packed steps of a policy."""

    timed: Portion
    targets: int
    """of all its steps, timed or only planned"""
    encoded: int
    """of all its steps, timed or only planned"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratio:
    """Speed-up over another policy: median, lowest and highest of the paired rounds."""

    median: float
    low: float
    high: float

    @property
    def clear(self) -> bool:
        """Whether the rounds agree well enough for the median to be meaningful."""
        return self.low >= (1 - MAX_DEVIATION) * self.median and self.high <= (1 + MAX_DEVIATION) * self.median


def measure_of(trainer: Trainer) -> Clock:
    """The clock to compare policies by. Processor seconds hardly depend on other work, but exclude a GPU's time."""
    return "processor" if trainer.device.type == "cpu" else "wall"


def time_alternately(
    trainers: Mapping[str, Trainer], rounds: int, *, steps: int, progress: Callable[[int, int], None]
) -> dict[str, list[Round]]:
    """Time `rounds` rounds of each policy after a warm-up round; the first policy changes by round.

    A round has `steps` packed steps. For policies that keep vectors or gradients between steps, it has
    planner.accumulate_steps times as many, up to the next update of the encoder. `progress(done, total)` is called.
    """
    names, found = list(trainers), {name: [] for name in trainers}  # type: list[str], dict[str, list[Round]]
    with ExitStack() as opened:
        ahead = {name: opened.enter_context(closing(_endless_steps(trainers[name]))) for name in names}
        for number in range(rounds + 1):
            first = number % len(names)
            for place, name in enumerate([*names[first:], *names[:first]], start=1):
                found[name].append(_round(trainers[name], ahead[name], steps))
                progress(number * len(names) + place, (rounds + 1) * len(names))
    return {name: every[1:] for name, every in found.items()}


def _endless_steps(trainer: Trainer) -> Generator[PlannedStep, None, None]:
    """Steps from the trainer's position on, epoch after epoch."""
    while True:
        with closing(trainer.epoch_steps()) as steps:
            yield from steps
        trainer.position.epoch, trainer.position.epoch_step = trainer.position.epoch + 1, 0


def _round(trainer: Trainer, ahead: Iterator[PlannedStep], steps: int) -> Round:
    planner = trainer.config.planner
    packed_steps = steps * (planner.accumulate_steps if planner.policy in _SEQUENTIAL else 1)
    few = planner.policy == "naive_per_target"  # keeps no state, so steps may be left out
    taken = timed_portion(trainer, _first(ahead, packed_steps, at_most=steps if few else None))
    targets, encoded = taken.targets, taken.encoded
    while taken.packed_steps < packed_steps:  # only planned
        step = next(ahead)
        targets, encoded = targets + step.targets, encoded + step.plan.encoded
        taken.packed_steps += step.completes
    return Round(timed=taken, targets=targets, encoded=encoded)


def _first(ahead: Iterator[PlannedStep], packed_steps: int, *, at_most: int | None) -> Iterator[PlannedStep]:
    """Steps until `packed_steps` are complete and the encoder is updated, or `at_most` steps were taken."""
    complete = came = 0
    for step in ahead:
        yield step
        complete, came = complete + step.completes, came + 1
        if came == at_most or (complete >= packed_steps and step.completes and step.plan.update_encoder):
            return


def clicks_per_second(every: Sequence[Round], by: Clock) -> list[float]:
    """Clicks per second of each round, as if it had the mean encodes per click of all rounds."""
    encodes_per_click = max(1, sum(each.encoded for each in every)) / sum(each.targets for each in every)
    return [max(1, each.timed.encoded) / _seconds(each, by) / encodes_per_click for each in every]


def ratio(mine: Sequence[Round], first: Sequence[Round], by: Clock) -> Ratio:
    """Clicks per second divided by those of the other policy in the same round."""
    pairs = zip(clicks_per_second(mine, by), clicks_per_second(first, by), strict=True)
    every = [own / other for own, other in pairs]
    return Ratio(median=median(every), low=min(every), high=max(every))


def figures(every: Sequence[Round]) -> dict[str, Any]:
    """Figures from the rounds of one policy."""
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


def ratio_fields(found: Ratio, by: Clock) -> dict[str, Any]:
    """The reported fields of a ratio; `speed_up` is None unless the rounds agree."""
    return {
        "speed_up": found.median if found.clear else None,
        "speed_up_low": found.low,
        "speed_up_high": found.high,
        "speed_up_by": by,
    }


def _seconds(each: Round, by: Clock) -> float:
    return each.timed.processor_seconds if by == "processor" else each.timed.seconds
