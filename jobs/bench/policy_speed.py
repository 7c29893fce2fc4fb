"""Policy speed: what a trainer with some policy does, and how long it takes; every benchmark of steps measures with it.

Needs none of the command line's libraries, so that it runs on any machine with torch.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace

from trainer.checkpoint.files import Checkpoint
from trainer.config import TrainConfig
from trainer.cost.memory import peak_memory, synchronize
from trainer.cost.work import NO_WORK, Work
from trainer.encode.policies import Policy
from trainer.loop.steps import PlannedStep
from trainer.loop.trainer import Trainer
from trainer.setup.prepare import Prepared


@dataclass(slots=True, kw_only=True)
class Portion:
    """What was done in some consecutive packed steps."""

    packed_steps: int = 0
    targets: int = 0
    asked: int = 0
    encoded: int = 0
    seconds: float = 0.0
    waited: float = 0.0
    """of them, until the loader had a step ready"""
    processor_seconds: float = 0.0
    """of all threads of this process, which other work on the machine hardly touches"""
    work: Work = NO_WORK

    @property
    def clicks_per_second(self) -> float:
        """Targets a second, data wait included."""
        return self.targets / self.seconds


def with_policy(config: TrainConfig, policy: Policy, *, kept_chunks: int | None = None) -> TrainConfig:
    """The same training by another policy; its loader is one step ahead, for others are timed meanwhile."""
    planner = replace(config.planner, policy=policy)
    run = replace(config.run, kept_chunks=kept_chunks, plan_ahead=1)
    return replace(config, planner=planner, run=run)


def trainer_of(prepared: Prepared, config: TrainConfig) -> Trainer:
    """A trainer by this config on a copy of the model, dropout on: it costs time too."""
    trainer = Trainer(replace(prepared, config=config, model=copy.deepcopy(prepared.model)))
    trainer.model.train()
    return trainer


def going_on(prepared: Prepared, saved: Checkpoint, policy: Policy, *, kept_chunks: int | None = None) -> Trainer:
    """A trainer with this policy, at the start of the epoch that would follow the checkpoint's last."""
    config = with_policy(prepared.config, policy, kept_chunks=kept_chunks)
    trainer = trainer_of(prepared, config)
    schedule = {**saved.state["optimiser"], "stretches": [(0, trainer.total_steps)]}  # policies differ in their steps
    trainer.restore(replace(saved, state={**saved.state, "config": config.to_dict(), "optimiser": schedule}))
    trainer.position.epoch, trainer.position.epoch_step = config.run.epochs, 0
    return trainer


def aged(trainer: Trainer, packed_steps: int = 128) -> None:
    """Go to an epoch's start, ages and coins as after so many steps; nothing is encoded, and the vectors stay zeros."""
    while trainer.step < packed_steps:
        for step in trainer.epoch_steps(packed_steps=packed_steps - trainer.step):
            trainer.position.step = step.plan.step + 1
        trainer.position.epoch, trainer.position.epoch_step = trainer.position.epoch + 1, 0


def portions(trainer: Trainer, sizes: Sequence[int]) -> Iterator[Portion]:
    """The epoch's next packed steps in portions of these sizes, the loader ahead all the while as in training."""
    with closing(trainer.epoch_steps(packed_steps=sum(sizes))) as steps:
        for size in sizes:
            yield timed_portion(trainer, _next(steps, size))


def _next(steps: Iterator[PlannedStep], packed_steps: int) -> Iterator[PlannedStep]:
    complete = 0
    while complete < packed_steps and (step := next(steps, None)) is not None:
        yield step
        complete += step.completes


def timed_portion(trainer: Trainer, steps: Iterator[PlannedStep]) -> Portion:
    """Take these steps, and what that took."""
    found, began, used = Portion(), time.perf_counter(), time.process_time()
    while True:
        asked = time.perf_counter()
        step = next(steps, None)
        if step is None:
            break
        found.waited += time.perf_counter() - asked
        trainer.take_step(step)
        found.targets += step.targets
        found.asked += step.asked
        found.encoded += step.plan.encoded
        found.packed_steps += step.completes
        found.work = found.work.plus(step.work)
    synchronize(trainer.device)
    found.seconds, found.processor_seconds = time.perf_counter() - began, time.process_time() - used
    return found


def peak_bytes(trainer: Trainer, packed_steps: int) -> int:
    """Most bytes given out during the epoch's next packed steps, above weights, moments and what else stays."""
    with peak_memory(trainer.device) as peak:
        for _ in portions(trainer, [packed_steps]):
            pass
    return peak[0]
