"""Benchmark: kernels that a step launches and numbers that it reads on the host, counted on any device.

A GPU that waits for its next kernel is launch-bound: what counts is launches per encoded item. Compares small chunks of
any shape with large ones of few shapes, and measures the loader's time for both. Operators are counted in the thread of
the step, so without the backward pass of a GPU; there, torch's profiler counts kernels and waits of complete steps, and
measures how long the GPU is idle. Needs what `steps` needs.
"""

from __future__ import annotations

import json
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any, cast, get_args

from jobs.bench.drawn_directory import DrawnConfig
from jobs.bench.drawn_run import ModelConfig, prepared_run
from jobs.bench.plain_options import run_plain
from jobs.bench.policy_speed import time_portions, trainer_of, with_policy
from trainer.config import TrainConfig
from trainer.cost.gpu_activity import gpu_activity
from trainer.cost.operators import counted
from trainer.encode.policies import CPU_CHUNK_SIZES, GPU_CHUNK_SIZES, Policy
from trainer.loop.trainer import Trainer
from trainer.setup.automatic import DeviceName
from trainer.setup.prepare import Prepared


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchesConfig(ModelConfig):
    """Options of the measurement."""

    trajectories: int = 1024
    """total windows of clicks"""
    items: int = 20_000
    """V: number of item rows"""
    batch_trajectories: int = 256
    """trajectories of a packed batch; a step takes one batch"""
    policies: tuple[str, ...] = ("once", "cached")
    """policies to measure"""
    steps: int = 3
    """counted steps, after an uncounted one"""

    def __post_init__(self) -> None:
        unknown = set(self.policies) - set(get_args(Policy))
        if unknown:
            raise ValueError(f"--policies names {sorted(unknown)}: use {', '.join(get_args(Policy))}")
        if not 1 <= self.steps < -(-self.trajectories // self.batch_trajectories):
            raise ValueError(f"--steps is {self.steps}: use 1 or more, and more batches of --trajectories than steps")


_HEADINGS = (
    f"{'policy':10}{'chunks':>9}{'items':>8}{'in chunks':>11}{'launches an item':>18}{'reads a step':>14}"
    f"{'loader ms':>11}{'kernels a step':>16}{'waits a step':>14}{'idle':>7}"
)


def launches(config: LaunchesConfig, where: DeviceName) -> dict[str, Any]:
    """Count the operators of some steps with the chunks of a CPU and with those of a GPU; print a table."""
    drawn = DrawnConfig(
        trajectories=config.trajectories,
        items=config.items,
        batch_trajectories=config.batch_trajectories,
        live_items=config.items // 3,
        seed=config.seed,
    )
    found: dict[str, Any] = {"config": asdict(config)}
    print(_HEADINGS)
    with tempfile.TemporaryDirectory(prefix="feedloop-bench-") as folder:
        prepared = prepared_run(Path(folder), config, drawn, where)
        for policy in config.policies:
            for name, sizes in (("small", CPU_CHUNK_SIZES), ("large", GPU_CHUNK_SIZES)):
                planner = replace(prepared.config.planner, chunk_sizes=sizes)
                run = replace(prepared, config=replace(prepared.config, planner=planner), few_forms=name == "large")
                figures = _counted(run, cast(Policy, policy), config.steps)
                found[f"{policy}_{name}"] = figures
                print(_line(policy, name, figures), flush=True)
                print(json.dumps(found), flush=True)  # for a run that is cut off
    for policy in config.policies:
        small, large = (found[f"{policy}_{name}"]["launches_per_item"] for name in ("small", "large"))
        found[f"{policy}_fewer"] = small / large
    return found


def _line(policy: str, name: str, figures: dict[str, Any]) -> str:
    gpu = figures["gpu"]
    return (
        f"{policy:10}{name:>9}{figures['items']:8,.0f}{figures['chunks']:11,.1f}"
        f"{figures['launches_per_item']:18.3f}{figures['reads_per_step']:14,.1f}{figures['loader_ms']:11.1f}"
        + (f"{gpu['kernels']:16,.0f}{gpu['waits']:14,.1f}{gpu['idle']:7.1%}" if gpu else "")
    )


def _counted(prepared: Prepared, policy: Policy, steps: int) -> dict[str, Any]:
    trainer = trainer_of(prepared, with_policy(prepared.config, policy))
    ready = trainer.epoch_steps(packed_steps=steps + 1)
    trainer.take_step(next(ready))
    items, chunks, launched, read = 0, 0, 0, 0
    shapes: set[tuple[int, ...]] = set()
    for step in ready:
        counter = counted(lambda step=step: trainer.take_step(step))  # type: ignore[misc]
        items += step.plan.encoded
        chunks += len(step.plan.encode)
        launched += counter.launching.total()
        read += counter.waiting.total()
        shapes |= {trainer.parts.chunk_arrays(chunk).computed for chunk in step.plan.encode}
    trainer.check_finite()
    return {
        "items": items / steps,
        "chunks": chunks / steps,
        "shapes": len(shapes),
        "launches_per_item": launched / max(1, items),
        "reads_per_step": read / steps,
        "loader_ms": 1e3 * _loader_seconds(trainer_of(prepared, trainer.config)),
        "gpu": _gpu_figures(prepared, trainer.config, steps),
    }


def _gpu_figures(prepared: Prepared, config: TrainConfig, steps: int) -> dict[str, float] | None:
    """What the GPU does in a step; None on a CPU. The steps are timed in a second pass, without the profiler, which
    slows the host."""
    if prepared.device.type != "cuda":
        return None
    timed, profiled = (time_portions(trainer_of(prepared, config), [1, steps]) for _ in range(2))
    next(timed), next(profiled)
    seconds = next(timed).seconds
    activity = gpu_activity(lambda: next(profiled), prepared.device)
    assert activity is not None, "on a GPU"
    return {
        "kernels": activity.kernels / steps,
        "copies": activity.copies / steps,
        "waits": activity.waits / steps,
        "busy_seconds": activity.busy_seconds / steps,
        "seconds": seconds / steps,
        "idle": max(0.0, 1 - activity.busy_seconds / seconds),
    }


def _loader_seconds(trainer: Trainer) -> float:
    """Median processor time that a thread takes to read a step, plan it and make its arrays."""
    found: list[float] = []
    steps = trainer.made_steps()
    while True:
        began = time.thread_time()
        step = next(steps, None)
        if step is None:
            return median(found)
        found.append(time.thread_time() - began)


if __name__ == "__main__":
    raise SystemExit(run_plain("launches", __doc__, LaunchesConfig, launches))
