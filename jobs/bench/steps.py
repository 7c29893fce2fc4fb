"""Benchmark: steps of each policy on random data. Needs torch, transformers, numpy, pyarrow, safetensors, msgspec only.

MFU relates the trained layers' multiplications to the wall time of complete steps, loader, head and optimiser included.
The formula is in trainer/cost/flops.py; trainer/cost/work.py distinguishes useful work from all that hardware did.
"""

from __future__ import annotations

import tempfile
from dataclasses import asdict, dataclass
from functools import reduce
from pathlib import Path
from statistics import median
from typing import Any, cast, get_args

from jobs.bench.drawn_directory import DrawnConfig
from jobs.bench.drawn_run import ModelConfig, prepared_run
from jobs.bench.plain_options import run_plain, warn_if_emulated
from jobs.bench.policy_speed import Portion, peak_bytes, skip_steps, time_portions, trainer_of, with_policy
from jobs.bench.rounds import Clock, Round, measure_of, ratio, ratio_fields
from trainer.cost.flops import device_name, peak_flops
from trainer.cost.work import Work
from trainer.encode.policies import Policy
from trainer.loop.trainer import Trainer
from trainer.setup.automatic import DeviceName, device_of
from trainer.setup.prepare import Prepared

_ALL = ("naive_per_target", "naive", "once", "cached", "accumulated")


@dataclass(frozen=True, slots=True, kw_only=True)
class StepsConfig(ModelConfig):
    """Options of the measurement."""

    trajectories: int = 4096
    """total windows of clicks"""
    items: int = 8192
    """V: number of item rows"""
    batch_trajectories: int = 64
    """trajectories of a packed batch; a step takes one batch"""
    policies: tuple[str, ...] = _ALL
    """policies to measure; the others are compared with the first"""
    steps: int = 4
    """packed steps that are timed together; a multiple of planner.accumulate_steps"""
    repeats: int = 5
    """measurements of each policy, alternating; medians are reported"""
    kept_chunks: int = -1
    """chunks that keep their graph; the others are replayed; -1 = all"""

    def __post_init__(self) -> None:
        unknown = set(self.policies) - set(get_args(Policy))
        if unknown:
            raise ValueError(f"--policies names {sorted(unknown)}: use {', '.join(get_args(Policy))}")
        if min(self.steps, self.repeats) < 1 or self.steps % 4:
            raise ValueError(
                f"--steps is {self.steps} and --repeats {self.repeats}: use a multiple of 4, and 1 or more"
            )
        packed = -(-self.trajectories // self.batch_trajectories)
        if self.needed_steps > packed:
            raise ValueError(
                f"--trajectories {self.trajectories} give {packed} packed steps, and {self.needed_steps} are taken: "
                "draw more, or lower --steps, --repeats or --batch-trajectories"
            )

    @property
    def needed_steps(self) -> int:
        """Packed steps of a policy: a warm-up portion, the timed portions, and one to measure memory."""
        return self.steps * (self.repeats + 2)


def steps(config: StepsConfig, where: DeviceName) -> dict[str, Any]:
    """Measure each policy; print a table and return the figures."""
    device = device_of(where)
    warn_if_emulated(where, bfloat16=config.bfloat16)
    drawn = DrawnConfig(
        trajectories=config.trajectories,
        items=config.items,
        batch_trajectories=config.batch_trajectories,
        seed=config.seed,
    )
    peak = peak_flops(device, bfloat16=config.bfloat16)
    with tempfile.TemporaryDirectory(prefix="feedloop-bench-") as folder:
        prepared = prepared_run(Path(folder), config, drawn, where)
        trainers = {policy: _trainer(prepared, config, cast(Policy, policy)) for policy in config.policies}
        timed = _in_turns(trainers, config)
        policies = {policy: _figures(every, config.steps, peak) for policy, every in timed.items()}
        _compare(policies, timed, measure_of(trainers[config.policies[0]]))
        for policy, trainer in trainers.items():
            policies[policy]["peak_bytes"] = peak_bytes(trainer, config.steps)
    print("\n".join([_HEADINGS, *(_line(policy, found) for policy, found in policies.items())]), flush=True)
    counts = prepared.directory.manifest.counts
    return {"config": asdict(config), "device": device_name(device), "peak_flops": peak, "data": counts, **policies}


def _trainer(prepared: Prepared, config: StepsConfig, policy: Policy) -> Trainer:
    kept = None if config.kept_chunks < 0 else config.kept_chunks
    trainer = trainer_of(prepared, with_policy(prepared.config, policy, kept_chunks=kept))
    if policy in ("cached", "carried"):
        skip_steps(trainer)
    return trainer


def _in_turns(trainers: dict[str, Trainer], config: StepsConfig) -> dict[str, list[Portion]]:
    """Time the policies alternately, so that other work affects all. The first portion of each is dropped."""
    names = list(trainers)
    ahead = {name: time_portions(trainers[name], [config.steps] * (config.repeats + 1)) for name in names}
    found: dict[str, list[Portion]] = {name: [] for name in names}
    for number in range(config.repeats + 1):
        first = number % len(names)
        for name in (*names[first:], *names[:first]):
            found[name].append(next(ahead[name]))
    for name in names:
        assert next(ahead[name], None) is None, "the loader ends after the last portion"
    return {name: every[1:] for name, every in found.items()}


def _compare(policies: dict[str, dict[str, Any]], timed: dict[str, list[Portion]], by: Clock) -> None:
    """Add each policy's speed-up over the first one, from paired portions."""
    rounds = {
        name: [Round(timed=each, targets=each.targets, encoded=each.encoded) for each in every]
        for name, every in timed.items()
    }
    first = next(iter(rounds.values()))
    for name, found in policies.items():
        found |= ratio_fields(ratio(rounds[name], first, by), by)


def _figures(timed: list[Portion], steps: int, peak: float) -> dict[str, Any]:
    work = reduce(Work.plus, (portion.work for portion in timed))
    seconds = [portion.seconds / portion.packed_steps for portion in timed]
    all_seconds, targets = sum(portion.seconds for portion in timed), sum(portion.targets for portion in timed)
    return {
        "seconds_per_step": median(seconds),
        "spread": (max(seconds) - min(seconds)) / median(seconds),
        "clicks_per_second": median(portion.clicks_per_second for portion in timed),
        "targets_per_step": targets / steps / len(timed),
        "encoded_per_1000_clicks": 1000 * sum(portion.encoded for portion in timed) / targets,
        "real_tokens_per_second": work.tokens / all_seconds,
        "computed_tokens_per_second": work.computed_tokens / all_seconds,
        "hardware_mfu": work.computed_flops / all_seconds / peak,
        "useful_mfu": work.flops / all_seconds / peak,
        "data_wait": sum(portion.waited for portion in timed) / all_seconds,
    }


_HEADINGS = (
    f"{'policy':17}{'ms a step':>11}{'spread':>8}{'clicks/s':>11}{'speed-up':>9}{'encoded/1000':>14}{'tokens/s':>12}"
    f"{'computed/s':>12}{'MFU':>7}{'useful':>8}{'peak MB':>10}{'data wait':>11}"
)


def _line(policy: str, found: dict[str, Any]) -> str:
    return (
        f"{policy:17}{found['seconds_per_step'] * 1e3:11,.1f}{found['spread']:8.1%}{found['clicks_per_second']:11,.1f}"
        f"{_speed_up(found['speed_up']):>9}{found['encoded_per_1000_clicks']:14,.0f}{found['real_tokens_per_second']:12,.0f}"
        f"{found['computed_tokens_per_second']:12,.0f}{found['hardware_mfu']:7.1%}{found['useful_mfu']:8.1%}"
        f"{found['peak_bytes'] / 1e6:10,.1f}{found['data_wait']:11.1%}"
    )


def _speed_up(speed_up: float | None) -> str:
    return "?" if speed_up is None else f"{speed_up:.1f}"


if __name__ == "__main__":
    raise SystemExit(run_plain("steps", __doc__, StepsConfig, steps))
