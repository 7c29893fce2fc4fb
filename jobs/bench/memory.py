"""Benchmark: peak memory beyond weights and optimiser, and clicks per second, of each policy on the same batches."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

from jobs.bench.policy_speed import peak_bytes, resumed_trainer, time_portions
from jobs.bench.rounds import Ratio, Round, clicks_per_second, measure_of, ratio
from jobs.cli.command_line import run
from jobs.cli.progress import stage
from schemas.errors import InputError
from trainer.checkpoint.retention import load_resolved_checkpoint
from trainer.encode.policies import Policy
from trainer.loop.trainer import Trainer
from trainer.setup.automatic import DeviceName, device_of
from trainer.setup.prepare import prepare_again


class _Arm(NamedTuple):
    policy: Policy
    kept_chunks: int | None


ARMS = {
    "naive": _Arm("naive", None),
    "once": _Arm("once", None),
    "once, 4 chunks kept": _Arm("once", 4),
    "once, two-phase": _Arm("once", 0),
    "cached": _Arm("cached", None),
    "cached, two-phase": _Arm("cached", 0),
    "accumulated": _Arm("accumulated", 0),
}


def memory(
    *, checkpoint: Path, data: Path, repeats: int = 5, store: Path | None = None, device: DeviceName = "auto"
) -> dict[str, Any]:
    """Measure the peak allocated memory and the speed of a window of planner.accumulate_steps steps.

    Parameters
    ----------
    checkpoint
        A checkpoint that `train` wrote.
    data
        The packed directory that it was trained on.
    repeats
        Windows that are timed for each policy, alternating; medians are reported.
    store
        Folder for the frozen layers' output; by default `<data>.frozen`.
    device
        Device to train on.
    """
    if repeats < 1:
        raise InputError(f"--repeats is {repeats}: use 1 or more")
    saved = load_resolved_checkpoint(checkpoint)
    prepared = prepare_again(saved, data, store=store, device=device_of(device))
    trainers = {
        name: resumed_trainer(prepared, saved, arm.policy, kept_chunks=arm.kept_chunks) for name, arm in ARMS.items()
    }
    peaks, rounds = {}, {name: [] for name in ARMS}  # type: dict[str, int], dict[str, list[Round]]
    for name, trainer in trainers.items():
        with stage(f"memory of {name}"):
            _window(trainer)  # allocates moments, chooses kernels
            trainer.position.epoch_step = 0
            peaks[name] = peak_bytes(trainer, trainer.config.planner.accumulate_steps)
    with stage("speed of all, in turns") as bar:
        for repeat in range(repeats):
            for name, trainer in trainers.items():
                rounds[name].append(_window(trainer))
            bar.at(repeat + 1, repeats)
    by = measure_of(trainers["once"])
    speeds = {name: statistics.median(clicks_per_second(every, "wall")) for name, every in rounds.items()}
    return _report(peaks, speeds, {name: ratio(every, rounds["once"], by) for name, every in rounds.items()})


def _window(trainer: Trainer) -> Round:
    """Time the first planner.accumulate_steps packed steps of the epoch."""
    trainer.position.epoch_step = 0
    (found,) = time_portions(trainer, [trainer.config.planner.accumulate_steps])
    return Round(timed=found, targets=found.targets, encoded=found.encoded)


def _report(peaks: dict[str, int], speeds: dict[str, float], ratios: dict[str, Ratio]) -> dict[str, Any]:
    table = Table("policy", title="Memory beyond weights and optimiser")
    for name in ("peak MB", "÷ naive", "clicks/s", "÷ once"):
        table.add_column(name, justify="right")
    for name in ARMS:
        share, found = peaks[name] / peaks["naive"], ratios[name]
        shown = f"{found.median:.2f}" if found.clear else "unclear"
        table.add_row(name, f"{peaks[name] / 1e6:,.1f}", f"{share:.3f}", f"{speeds[name]:,.0f}", shown)
    Console(highlight=False).print(table)
    return {
        "peak_bytes": peaks,
        "memory_ratio": {name: round(peak / peaks["naive"], 4) for name, peak in peaks.items()},
        "throughput_ratio": {name: round(each.median, 3) if each.clear else None for name, each in ratios.items()},
    }


if __name__ == "__main__":
    raise SystemExit(run(memory))
