"""Benchmark: how step time depends on the numbers of trajectories and items. Needs what `steps` needs."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from jobs.bench.drawn_directory import DrawnConfig
from jobs.bench.drawn_run import ModelConfig, prepared_run
from jobs.bench.plain_options import run_plain
from jobs.bench.policy_speed import Portion, skip_steps, time_portions, trainer_of, with_policy
from trainer.cost.flops import device_name
from trainer.data.directory import PackedDirectory
from trainer.encode.policies import Policy
from trainer.loop.trainer import Trainer
from trainer.setup.automatic import DeviceName, device_of
from trainer.setup.prepare import Prepared

POLICIES: tuple[Policy, ...] = ("once", "cached")
_PORTION = 4  # packed steps that are timed as one


@dataclass(frozen=True, slots=True, kw_only=True)
class FlatnessConfig(ModelConfig):
    """Sizes to measure. While one size varies, the other has its middle value."""

    trajectories: tuple[int, ...] = (1_000, 10_000, 100_000)
    """total windows of clicks"""
    items: tuple[int, ...] = (2_048, 8_192, 65_536)
    """V: number of item rows"""
    batch_trajectories: int = 16
    """trajectories of a packed batch; a step takes one batch"""
    live_items: int = 1_500
    """news of a moment; the content of a step depends on it, not on the sizes"""
    portions: int = 12
    """portions of four steps that are timed for each size, alternating"""

    def __post_init__(self) -> None:
        packed = min(self.trajectories) // self.batch_trajectories
        if self.portions < 1 or (self.portions + 1) * _PORTION > packed:
            raise ValueError(
                f"--portions is {self.portions}: use 1 or more, at most {packed // _PORTION - 1} for these trajectories"
            )
        if min(self.items) <= self.live_items:
            raise ValueError(f"--items names {min(self.items)}: use more than the {self.live_items} of --live-items")


class _Size(NamedTuple):
    trajectories: int
    items: int


def flatness(config: FlatnessConfig, where: DeviceName) -> dict[str, Any]:
    """Measure seconds per step for each size and policy, their largest ratio, and the seconds before the first step."""
    middle = _Size(*(sorted(every)[len(every) // 2] for every in (config.trajectories, config.items)))
    sweeps = {
        "trajectories": [_Size(number, middle.items) for number in config.trajectories],
        "items": [_Size(middle.trajectories, number) for number in config.items],
    }
    device = device_of(where)
    found: dict[str, Any] = {"config": asdict(config), "device": device_name(device), "start": {}}
    with tempfile.TemporaryDirectory(prefix="feedloop-bench-") as folder:
        runs: dict[_Size, Prepared] = {}
        for size in dict.fromkeys(size for sizes in sweeps.values() for size in sizes):
            runs[size], found["start"][_name(size)] = _prepare(config, size, Path(folder), where)
        for sweep, sizes in sweeps.items():
            found[sweep] = {
                policy: _time_sweep({size: runs[size] for size in sizes}, policy, config) for policy in POLICIES
            }
            for policy in POLICIES:
                print(_table(sweep, policy, found[sweep][policy]), flush=True)
    return found


def _prepare(config: FlatnessConfig, size: _Size, folder: Path, where: DeviceName) -> tuple[Prepared, dict[str, float]]:
    """Prepare a run up to its first step, and return the seconds of each part of that."""
    drawn = DrawnConfig(
        trajectories=size.trajectories,
        items=size.items,
        batch_trajectories=config.batch_trajectories,
        live_items=config.live_items,
        seed=config.seed,
    )
    prepared = prepared_run(folder / "runs", config, drawn, where)
    began = time.perf_counter()
    PackedDirectory.open(prepared.directory.path)
    opened = time.perf_counter()
    prepared = prepared_run(folder / "runs", config, drawn, where)
    ready = time.perf_counter()
    Trainer(prepared)
    seconds = {"open": opened - began, "prepare": ready - opened, "trainer": time.perf_counter() - ready}
    print(f"{_name(size)}: " + ", ".join(f"{name} {each:.2f} s" for name, each in seconds.items()), flush=True)
    return prepared, seconds


def _time_sweep(runs: dict[_Size, Prepared], policy: Policy, config: FlatnessConfig) -> dict[str, Any]:
    """Time the steps of each size, alternating, so that other work on the machine affects all sizes."""
    trainers = []
    for prepared in runs.values():
        trainer = trainer_of(prepared, with_policy(prepared.config, policy))
        if policy == "cached":
            skip_steps(trainer)
        trainers.append(time_portions(trainer, [_PORTION] * (config.portions + 1)))
    turns = list(zip(*trainers, strict=True))[1:]
    sizes = {_name(size): _figures(mine) for size, mine in zip(runs, zip(*turns, strict=True), strict=True)}
    return {
        "sizes": sizes,
        "slowest_to_fastest": _ratio(sizes, "seconds_per_step"),
        "slowest_to_fastest_processor": _ratio(sizes, "processor_seconds_per_step"),
    }


def _figures(mine: Sequence[Portion]) -> dict[str, float]:
    steps = sum(portion.packed_steps for portion in mine)
    return {
        "seconds_per_step": median(portion.seconds for portion in mine) / _PORTION,
        "processor_seconds_per_step": median(portion.processor_seconds for portion in mine) / _PORTION,
        "encoded_per_step": sum(portion.encoded for portion in mine) / steps,
        "targets_per_step": sum(portion.targets for portion in mine) / steps,
    }


def _ratio(sizes: dict[str, dict[str, float]], name: str) -> float:
    every = [figures[name] for figures in sizes.values()]
    return max(every) / min(every)


def _name(size: _Size) -> str:
    return f"{size.trajectories:,} trajectories, {size.items:,} items"


def _table(sweep: str, policy: str, found: dict[str, Any]) -> str:
    lines = [
        f"{policy}, {sweep} vary: slowest / fastest {found['slowest_to_fastest']:.3f}, "
        f"by processor time {found['slowest_to_fastest_processor']:.3f}"
    ]
    for size, figures in found["sizes"].items():
        lines.append(
            f"  {size:40}{figures['seconds_per_step'] * 1e3:9.1f} ms a step"
            f"{figures['processor_seconds_per_step'] * 1e3:9.1f} ms of processors"
            f"{figures['encoded_per_step']:8.0f} encoded{figures['targets_per_step']:7.0f} targets"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(run_plain("flatness", __doc__, FlatnessConfig, flatness))
