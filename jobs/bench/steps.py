"""Benchmark: steps of each policy on random data. Needs torch, transformers, numpy, pyarrow, safetensors, msgspec only.

MFU relates the trained layers' multiplications to the wall time of complete steps, loader, head and optimiser included.
The formula is in trainer/cost/flops.py; trainer/cost/work.py distinguishes useful work from all that hardware did.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from functools import reduce
from pathlib import Path
from statistics import median
from typing import Any

from jobs.bench.drawn_directory import DrawnConfig
from jobs.bench.drawn_run import ModelConfig, prepared_run
from jobs.bench.plain_options import run_plain, warn_if_emulated
from jobs.bench.policy_speed import Arm, Portion, peak_bytes, skip_steps, time_portions, trainer_of, with_policy
from jobs.bench.rounds import Clock, Round, measure_of, ratio, ratio_fields
from trainer.cost.flops import device_name, peak_flops
from trainer.cost.memory import OutOfMemoryError, free_cached
from trainer.cost.work import Work
from trainer.loop.trainer import Trainer
from trainer.setup.automatic import DeviceName
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
    """trajectories of a packed batch"""
    batches_per_step: int = 1
    """packed batches of a step"""
    policies: tuple[str, ...] = _ALL
    """policies to measure, also as POLICY_two_phase, which keeps no graph; the others are compared with the first"""
    steps: int = 4
    """packed steps that are timed together; a multiple of planner.accumulate_steps"""
    repeats: int = 5
    """measurements of each policy, alternating; medians are reported"""
    kept_chunks: int = -1
    """chunks that keep their graph; the others are replayed; -1 = all"""

    def __post_init__(self) -> None:
        for name in self.policies:
            Arm.of(name, kept_chunks=None)
        if min(self.steps, self.repeats) < 1 or self.steps % 4:
            raise ValueError(
                f"--steps is {self.steps} and --repeats {self.repeats}: use a multiple of 4, and 1 or more"
            )
        if min(self.batch_trajectories, self.batches_per_step) < 1:
            raise ValueError("--batch-trajectories and --batches-per-step must be 1 or more")
        packed = -(-self.trajectories // (self.batch_trajectories * self.batches_per_step))
        if self.needed_steps > packed:
            raise ValueError(
                f"--trajectories {self.trajectories} give {packed} packed steps, and {self.needed_steps} are taken: "
                "draw more, or lower --steps, --repeats, --batches-per-step or --batch-trajectories"
            )

    @property
    def needed_steps(self) -> int:
        """Packed steps of a policy: a warm-up portion, the timed portions, and one to measure memory."""
        return self.steps * (self.repeats + 2)

    @property
    def drawn(self) -> DrawnConfig:
        """The sizes of the random data."""
        return DrawnConfig(
            trajectories=self.trajectories,
            items=self.items,
            batch_trajectories=self.batch_trajectories,
            seed=self.seed,
        )


def steps(config: StepsConfig, where: DeviceName) -> dict[str, Any]:
    """Measure each policy; print a table and return the figures."""
    with tempfile.TemporaryDirectory(prefix="feedloop-bench-") as folder:
        prepared = prepared_steps(Path(folder), config, where)
        return {**facts(prepared, config), **policy_figures(prepared, config)}


def prepared_steps(folder: Path, config: StepsConfig, where: DeviceName) -> Prepared:
    """Draw data and model into `folder` and prepare them."""
    warn_if_emulated(where, config.precision, otherwise="--precision float32")
    return prepared_run(folder, config, config.drawn, where)


def facts(prepared: Prepared, config: StepsConfig) -> dict[str, Any]:
    """What was measured: options, device, precision, sizes of chunks, and the data's counts."""
    return {
        "config": asdict(config),
        "device": device_name(prepared.device),
        "precision": prepared.config.run.precision,
        "chunk_sizes": prepared.config.planner.chunk_sizes,
        "peak_flops": _peak_flops(prepared),
        "data": prepared.directory.manifest.counts,
    }


def _peak_flops(prepared: Prepared) -> float:
    return peak_flops(prepared.device, bfloat16=prepared.config.run.precision == "bfloat16")


def policy_figures(prepared: Prepared, config: StepsConfig) -> dict[str, dict[str, Any]]:
    """The figures of each policy, or {"out_of_memory": message}; prints a table."""
    trainers = {name: _trainer(prepared, config, name) for name in config.policies}
    found: dict[str, dict[str, Any]] = {}
    by = measure_of(next(iter(trainers.values())))
    timed = _in_turns(trainers, config, found)
    found |= {name: _figures(every, config.steps, _peak_flops(prepared)) for name, every in timed.items()}
    _compare(found, timed, by)
    for name in timed:
        try:
            found[name]["peak_bytes"] = peak_bytes(trainers[name], config.steps)
        except OutOfMemoryError as error:
            found[name] = {"out_of_memory": str(error)}
        del trainers[name]
    found = {name: found[name] for name in config.policies}
    print("\n".join([_HEADINGS, *(_line(policy, each) for policy, each in found.items())]), flush=True)
    return found


def _trainer(prepared: Prepared, config: StepsConfig, name: str) -> Trainer:
    arm = Arm.of(name, kept_chunks=None if config.kept_chunks < 0 else config.kept_chunks)
    training = with_policy(prepared.config, arm.policy, kept_chunks=arm.kept_chunks)
    run = replace(training.run, batches_per_step=config.batches_per_step)
    trainer = trainer_of(prepared, replace(training, run=run))
    if arm.policy in ("cached", "carried"):
        skip_steps(trainer)
    return trainer


def _in_turns(
    trainers: dict[str, Trainer], config: StepsConfig, failed: dict[str, dict[str, Any]]
) -> dict[str, list[Portion]]:
    """Time the policies alternately, so that other work affects all. The first portion of each is dropped.

    A policy that runs out of memory is added to `failed` and removed from `trainers`.
    """
    sizes = [config.steps] * (config.repeats + 1)
    ahead: dict[str, Iterator[Portion]] = {name: time_portions(trainer, sizes) for name, trainer in trainers.items()}
    found: dict[str, list[Portion]] = {name: [] for name in trainers}
    for number in range(len(sizes)):
        names = list(ahead)
        first = number % max(1, len(names))
        for name in (*names[first:], *names[:first]):
            try:
                found[name].append(next(ahead[name]))
            except OutOfMemoryError as error:
                failed[name] = {"out_of_memory": str(error)}
                device = trainers.pop(name).device
                del ahead[name], found[name]
                free_cached(device)
    for each in ahead.values():
        assert next(each, None) is None, "the loader ends after the last portion"
    return {name: every[1:] for name, every in found.items()}


def _compare(policies: dict[str, dict[str, Any]], timed: dict[str, list[Portion]], by: Clock) -> None:
    """Add each policy's speed-up over the first one that was timed, from paired portions."""
    rounds = {
        name: [Round(timed=each, targets=each.targets, encoded=each.encoded) for each in every]
        for name, every in timed.items()
    }
    for name, every in rounds.items():
        policies[name] |= ratio_fields(ratio(every, next(iter(rounds.values())), by), by)


def _figures(timed: list[Portion], steps: int, peak: float) -> dict[str, Any]:
    work = reduce(Work.plus, (portion.work for portion in timed))
    seconds = [portion.seconds / portion.packed_steps for portion in timed]
    processor = [portion.processor_seconds / portion.packed_steps for portion in timed]
    all_seconds, targets = sum(portion.seconds for portion in timed), sum(portion.targets for portion in timed)
    encoded = sum(portion.encoded for portion in timed)
    return {
        "seconds_per_step": median(seconds),
        "processor_seconds_per_step": median(processor),
        "spread": (max(seconds) - min(seconds)) / median(seconds),
        "clicks_per_second": median(portion.clicks_per_second for portion in timed),
        "targets_per_step": targets / steps / len(timed),
        "encoded_per_step": encoded / steps / len(timed),
        "encoded_per_1000_clicks": 1000 * encoded / targets,
        "real_tokens_per_second": work.tokens / all_seconds,
        "computed_tokens_per_second": work.computed_tokens / all_seconds,
        "hardware_mfu": work.computed_flops / all_seconds / peak,
        "useful_mfu": work.flops / all_seconds / peak,
        "data_wait": sum(portion.waited for portion in timed) / all_seconds,
    }


_HEADINGS = (
    f"{'policy':27}{'ms a step':>11}{'spread':>8}{'clicks/s':>11}{'speed-up':>9}{'encoded/1000':>14}{'tokens/s':>12}"
    f"{'computed/s':>12}{'MFU':>7}{'useful':>8}{'peak MB':>10}{'data wait':>11}"
)


def _line(policy: str, found: dict[str, Any]) -> str:
    if "out_of_memory" in found:
        return f"{policy:27}{found['out_of_memory']}"
    return (
        f"{policy:27}{found['seconds_per_step'] * 1e3:11,.1f}{found['spread']:8.1%}{found['clicks_per_second']:11,.1f}"
        f"{_speed_up(found['speed_up']):>9}{found['encoded_per_1000_clicks']:14,.0f}{found['real_tokens_per_second']:12,.0f}"
        f"{found['computed_tokens_per_second']:12,.0f}{found['hardware_mfu']:7.1%}{found['useful_mfu']:8.1%}"
        f"{found['peak_bytes'] / 1e6:10,.1f}{found['data_wait']:11.1%}"
    )


def _speed_up(speed_up: float | None) -> str:
    return "?" if speed_up is None else f"{speed_up:.1f}"


if __name__ == "__main__":
    raise SystemExit(run_plain("steps", __doc__, StepsConfig, steps))
