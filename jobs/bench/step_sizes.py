"""Benchmark: complete steps of each policy at several numbers of trajectories a step. Needs what `steps` needs.

The data is packed once; a step of more trajectories takes more packed batches. The figures so far are printed after
each size, so that a run that is cut off has those of the sizes before.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from jobs.bench.plain_options import run_plain
from jobs.bench.steps import StepsConfig, facts, policy_figures, prepared_steps
from trainer.setup.automatic import DeviceName


@dataclass(frozen=True, slots=True, kw_only=True)
class StepSizesConfig(StepsConfig):
    """Options of the measurement; batches_per_step is that of the largest size."""

    trajectories: int = 16_384
    """total windows of clicks"""
    items: int = 16_384
    """V: number of item rows"""
    batches_per_step: int = 16
    """packed batches of the largest step"""
    policies: tuple[str, ...] = ("naive_per_target", "naive", "naive_two_phase", "once", "cached", "accumulated")
    """policies to measure, also as POLICY_two_phase, which keeps no graph; the others are compared with the first"""
    repeats: int = 2
    """measurements of each policy, alternating; medians are reported"""
    step_batches: tuple[int, ...] = (4, 1, 16, 2, 8)
    """packed batches of a step, the most important first"""
    per_target_batches: int = 4
    """naive_per_target is left out of steps of more packed batches; it cuts them into small ones anyway"""

    def __post_init__(self) -> None:
        # Not super(): slots make a new class.
        StepsConfig.__post_init__(self)
        if min(self.step_batches) < 1 or max(self.step_batches) > self.batches_per_step:
            raise ValueError(
                f"--step-batches is {self.step_batches}: use 1 to {self.batches_per_step}, or raise --batches-per-step"
            )

    def sizes(self) -> Iterator[StepsConfig]:
        """The options of each size."""
        for batches in self.step_batches:
            large = batches > self.per_target_batches
            policies = [name for name in self.policies if not (large and name.startswith("naive_per_target"))]
            if policies:
                yield replace(self, batches_per_step=batches, step_batches=(batches,), policies=tuple(policies))


def step_sizes(config: StepSizesConfig, where: DeviceName) -> dict[str, Any]:
    """Measure each size; print its table and all figures so far. Returns them by trajectories of a step."""
    with tempfile.TemporaryDirectory(prefix="feedloop-bench-") as folder:
        prepared = prepared_steps(Path(folder), config, where)
        found = facts(prepared, config)
        for of_size in config.sizes():
            trajectories = of_size.batches_per_step * of_size.batch_trajectories
            print(f"{trajectories} trajectories a step", flush=True)
            found[str(trajectories)] = policy_figures(prepared, of_size)
            print(json.dumps(found), flush=True)
    return found


if __name__ == "__main__":
    raise SystemExit(run_plain("step_sizes", __doc__, StepSizesConfig, step_sizes))
