"""Times packed steps of a trainer with a given policy; shared by all benchmarks of steps.

Uses no library of the command line, so that it runs on any machine with torch.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import NamedTuple, cast, get_args

from trainer.checkpoint.files import Checkpoint
from trainer.config import TrainConfig
from trainer.cost.flops import Moment, moment, seconds_between
from trainer.cost.memory import peak_memory, synchronize
from trainer.cost.work import NO_WORK, Work
from trainer.encode.policies import Policy
from trainer.loop.steps import PlannedStep
from trainer.loop.trainer import Trainer
from trainer.setup.prepare import Prepared

_TWO_PHASE = "_two_phase"


class Arm(NamedTuple):
    """A policy, and the number of chunks that keep their graph; None = all."""

    policy: Policy
    kept_chunks: int | None

    @classmethod
    def of(cls, name: str, *, kept_chunks: int | None) -> Arm:
        """The arm by name: a policy, or POLICY_two_phase, which keeps no graph: it encodes, scores, and encodes again
        with a graph (GradCache, arXiv:2101.06983; sentence-transformers' CachedMultipleNegativesRankingLoss).
        ValueError for another name."""
        policy = name.removesuffix(_TWO_PHASE)
        if policy not in get_args(Policy):
            raise ValueError(
                f"--policies names {name!r}: use {', '.join(get_args(Policy))}, each also as POLICY{_TWO_PHASE}"
            )
        return cls(cast(Policy, policy), 0 if name != policy else kept_chunks)


@dataclass(slots=True, kw_only=True)
class Portion:
    """Work and time of some consecutive packed steps."""

    packed_steps: int = 0
    targets: int = 0
    asked: int = 0
    encoded: int = 0
    seconds: float = 0.0
    waited: float = 0.0
    """part of `seconds` in which the device had no work as the loader had no step ready"""
    processor_seconds: float = 0.0
    """of all threads of this process; hardly affected by other work on the machine"""
    work: Work = NO_WORK

    @property
    def clicks_per_second(self) -> float:
        """Targets per second, data wait included."""
        return self.targets / self.seconds


def with_policy(config: TrainConfig, policy: Policy, *, kept_chunks: int | None = None) -> TrainConfig:
    """The same options with another policy. The loader plans one step ahead, as other trainers are timed meanwhile."""
    planner = replace(config.planner, policy=policy)
    run = replace(config.run, kept_chunks=kept_chunks, plan_ahead=1)
    return replace(config, planner=planner, run=run)


def trainer_of(prepared: Prepared, config: TrainConfig) -> Trainer:
    """A trainer with this config on a copy of the model. Dropout is on, as it costs time too."""
    trainer = Trainer(replace(prepared, config=config, model=copy.deepcopy(prepared.model)))
    trainer.model.train()
    return trainer


def resumed_trainer(
    prepared: Prepared, saved: Checkpoint, policy: Policy, *, kept_chunks: int | None = None
) -> Trainer:
    """A trainer with this policy, at the start of the epoch that would follow the checkpoint's last."""
    config = with_policy(prepared.config, policy, kept_chunks=kept_chunks)
    trainer = trainer_of(prepared, config)
    schedule = {**saved.state["optimiser"], "stretches": [(0, trainer.total_steps)]}  # policies differ in their steps
    trainer.restore(replace(saved, state={**saved.state, "config": config.to_dict(), "optimiser": schedule}))
    trainer.position.epoch, trainer.position.epoch_step = config.run.epochs, 0
    return trainer


def skip_steps(trainer: Trainer, packed_steps: int = 128) -> None:
    """Plan at least this number of steps, up to the start of an epoch, without encoding: only ages and coins change."""
    while trainer.step < packed_steps:
        for step in trainer.epoch_steps(packed_steps=packed_steps - trainer.step):
            trainer.position.step = step.plan.step + 1
        trainer.position.epoch, trainer.position.epoch_step = trainer.position.epoch + 1, 0


def time_portions(trainer: Trainer, sizes: Sequence[int]) -> Iterator[Portion]:
    """Time the epoch's next packed steps in portions of these sizes; the loader works ahead as in training."""
    with closing(trainer.epoch_steps(packed_steps=sum(sizes))) as steps:
        for size in sizes:
            yield timed_portion(trainer, _next(steps, size))


def _next(steps: Iterator[PlannedStep], packed_steps: int) -> Iterator[PlannedStep]:
    complete = 0
    while complete < packed_steps and (step := next(steps, None)) is not None:
        yield step
        complete += step.completes


def timed_portion(trainer: Trainer, steps: Iterator[PlannedStep]) -> Portion:
    """Take these steps, and measure their work and time."""
    found, began, used = Portion(), time.perf_counter(), time.process_time()
    waits: list[tuple[Moment, Moment]] = []
    while True:
        asked = moment(trainer.device)
        step = next(steps, None)
        if step is None:
            break
        waits.append((asked, moment(trainer.device)))
        trainer.take_step(step)
        found.targets += step.targets
        found.asked += step.asked
        found.encoded += step.plan.encoded
        found.packed_steps += step.completes
        found.work = found.work.plus(step.work)
    synchronize(trainer.device)
    found.seconds, found.processor_seconds = time.perf_counter() - began, time.process_time() - used
    found.waited = sum(seconds_between(*wait) for wait in waits)
    return found


def peak_bytes(trainer: Trainer, packed_steps: int) -> int:
    """Peak bytes allocated during the epoch's next packed steps, beyond weights, moments and other lasting memory."""
    with peak_memory(trainer.device) as peak:
        for _ in time_portions(trainer, [packed_steps]):
            pass
    return peak[0]
