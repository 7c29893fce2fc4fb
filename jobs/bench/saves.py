"""Benchmark: how long checkpoints keep a run from stepping, with many items. Needs what `steps` needs.

Trains on random data and saves between two steps: as `train` does, which copies the state and goes on while a thread
writes it, and then in the loop itself. Also times the steps during which the thread writes.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any, cast, get_args

from jobs.bench.drawn_directory import DrawnConfig
from jobs.bench.drawn_run import ModelConfig, prepared_run
from jobs.bench.plain_options import run_plain
from jobs.bench.policy_speed import trainer_of, with_policy
from trainer.checkpoint.background import Background
from trainer.checkpoint.retention import Checkpoints
from trainer.cost.flops import device_name, seconds_of
from trainer.cost.memory import synchronize
from trainer.encode.policies import Policy
from trainer.loop.steps import PlannedStep
from trainer.loop.trainer import Trainer
from trainer.setup.automatic import DeviceName, device_of


@dataclass(frozen=True, slots=True, kw_only=True)
class SavesConfig(ModelConfig):
    """Options of the measurement."""

    size: str = "minilm"
    """tiny, minilm or base: the encoder's shape"""
    items: int = 1_000_000
    """V: number of item rows"""
    batch_trajectories: int = 4
    """trajectories of a packed batch; a step takes one batch"""
    policy: str = "cached"
    """encoding policy of the run"""
    steps: int = 12
    """steps before the first save, and between two; more than the age limit of cached vectors"""
    repeats: int = 3
    """saves of each kind; the median is reported"""

    def __post_init__(self) -> None:
        if self.policy not in get_args(Policy):
            raise ValueError(f"--policy is {self.policy!r}: use {', '.join(get_args(Policy))}")
        if min(self.steps, self.repeats) < 1:
            raise ValueError(f"--steps is {self.steps}, --repeats {self.repeats}: use 1 or more")


def saves(config: SavesConfig, where: DeviceName) -> dict[str, Any]:
    """Report how long a save of each kind keeps the run from stepping, when it is complete, and the steps' times."""
    drawn = DrawnConfig(
        trajectories=config.batch_trajectories * config.steps * (config.repeats + 1),
        items=config.items,
        batch_trajectories=config.batch_trajectories,
        seed=config.seed,
    )
    with tempfile.TemporaryDirectory(prefix="feedloop-bench-") as folder:
        prepared = prepared_run(Path(folder), config, drawn, where)
        trainer = trainer_of(prepared, with_policy(prepared.config, cast(Policy, config.policy)))
        found = _measure(trainer, config, Checkpoints(Path(folder, "checkpoint"), keep=1))
    for name, value in found.items():
        print(f"{name}: {value:,.3f}" if isinstance(value, float) else f"{name}: {value}")
    return {"config": asdict(config), "device": device_name(device_of(where)), **found}


def _measure(trainer: Trainer, config: SavesConfig, checkpoints: Checkpoints) -> dict[str, Any]:
    alone: list[float] = []
    meanwhile: list[float] = []
    blocked: list[float] = []
    complete: list[float] = []
    with closing(trainer.epoch_steps()) as steps, Background("saving") as saving:
        alone.extend(_step_seconds(trainer, steps) for _ in range(config.steps))
        for _ in range(config.repeats):
            done: list[float] = []
            synchronize(trainer.device)
            began = time.perf_counter()
            saving.start(_saving(trainer, checkpoints, done))
            blocked.append(time.perf_counter() - began)
            for _ in range(config.steps):
                (alone if done else meanwhile).append(_step_seconds(trainer, steps))
            saving.wait()
            complete.append(done[0] - began)
    in_the_loop = [
        seconds_of(lambda: checkpoints.save(trainer.checkpoint(), step=trainer.step), trainer.device)
        for _ in range(config.repeats)
    ]
    newest = checkpoints.newest()
    assert newest is not None, "it was saved"
    return {
        "blocked_seconds": median(blocked),
        "complete_seconds": median(complete),
        "in_the_loop_seconds": median(in_the_loop),
        "step_seconds": median(alone),
        "step_seconds_while_writing": median(meanwhile) if meanwhile else None,
        "bytes": {file.name: file.stat().st_size for file in sorted(newest.iterdir())},
    }


def _saving(trainer: Trainer, checkpoints: Checkpoints, done: list[float]) -> Callable[[], None]:
    """Copy the state; the returned job writes it, and adds the moment when it is complete to `done`."""
    checkpoint, step = trainer.checkpoint(), trainer.step

    def write() -> None:
        checkpoints.save(checkpoint, step=step)
        done.append(time.perf_counter())

    return write


def _step_seconds(trainer: Trainer, steps: Iterator[PlannedStep]) -> float:
    """Take the next step; its seconds, waiting for data included."""
    return seconds_of(lambda: trainer.take_step(next(steps)), trainer.device)


if __name__ == "__main__":
    raise SystemExit(run_plain("saves", __doc__, SavesConfig, saves))
