"""Benchmark: complete steps of each policy at several numbers of trajectories a step. Needs what `steps` needs.

The data is packed once; a step of more trajectories takes more packed batches. The figures so far are printed after
each size, so that a run that is cut off has those of the sizes before.
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from jobs.bench.drawn_run import ModelConfig
from jobs.bench.plain_options import run_plain
from jobs.bench.steps import StepsConfig, facts, policy_figures, prepared_steps
from trainer.setup.automatic import DeviceName


@dataclass(frozen=True, slots=True, kw_only=True)
class StepSizesConfig(ModelConfig):
    """Options of the measurement."""

    trajectories: int = 16_384
    """total windows of clicks"""
    items: int = 16_384
    """V: number of item rows"""
    batch_trajectories: int = 64
    """trajectories of a packed batch"""
    policies: tuple[str, ...] = ("naive_per_target", "naive", "naive_two_phase", "once", "cached", "accumulated")
    """policies to measure, also as POLICY_two_phase, which keeps no graph; the others are compared with the first"""
    steps: int = 4
    """packed steps that are timed together; a multiple of planner.accumulate_steps"""
    repeats: int = 2
    """measurements of each policy, alternating; medians are reported"""
    step_batches: tuple[int, ...] = (4, 1, 16, 2, 8)
    """packed batches of a step, the most important first"""
    per_target_batches: int = 4
    """naive_per_target is left out of steps of more packed batches; it cuts them into small ones anyway"""

    def __post_init__(self) -> None:
        if not self.of_sizes():
            raise ValueError("--policies and --per-target-batches leave nothing to measure")

    def of_sizes(self) -> list[StepsConfig]:
        """The options of each size. ValueError if they do not fit."""
        own = ("step_batches", "per_target_batches", "policies")
        common = {each.name: getattr(self, each.name) for each in fields(self) if each.name not in own}
        found = []
        for batches in self.step_batches:
            policies = tuple(name for name in self.policies if self._measures(name, batches))
            if policies:
                found.append(StepsConfig(**common, batches_per_step=batches, policies=policies))
        return found

    def _measures(self, policy: str, batches: int) -> bool:
        return batches <= self.per_target_batches or not policy.startswith("naive_per_target")


def step_sizes(config: StepSizesConfig, where: DeviceName) -> dict[str, Any]:
    """Measure each size; print its table and all figures so far. Returns them by trajectories of a step."""
    with tempfile.TemporaryDirectory(prefix="feedloop-bench-") as folder:
        prepared = prepared_steps(Path(folder), config.of_sizes()[0], where)
        found = {**facts(prepared, config.of_sizes()[0]), "config": asdict(config)}
        for of_size in config.of_sizes():
            trajectories = of_size.batches_per_step * of_size.batch_trajectories
            print(f"{trajectories} trajectories a step", flush=True)
            found[str(trajectories)] = policy_figures(prepared, of_size)
            print(json.dumps(found), flush=True)
    return found


if __name__ == "__main__":
    raise SystemExit(run_plain("step_sizes", __doc__, StepSizesConfig, step_sizes))
