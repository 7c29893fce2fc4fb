"""Benchmark: runs all GPU benchmarks with one command, the most important first. Needs what `steps` needs.

Writes device.json, which is valid JSON at every moment, and device.log to the folder --out. A benchmark that fails is
recorded with its error, and the next one runs; one that is cut off is recorded with the figures that it has printed.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs.bench.one_by_one import RECORD, Benchmark, run_one_by_one, stop_on_sigterm
from jobs.bench.plain_options import run_plain
from jobs.page.about import this_machine
from schemas.errors import InputError
from trainer.setup.automatic import DeviceName, device_of

_ROWS = "--row-tokens 128 --attention-dropout 0"  # items share rows, with FlexAttention's kernel
_AT_256 = "--items 16384 --batches-per-step 4 --trajectories 4096 --repeats 1"
_MEMORY = "--kept-chunks 0 --policies naive once cached accumulated"
# Name -> seconds at most, and module with options; the most important first. Chunks, precision: those of the device.
# Segments of 32 tokens are full; titles have 15.9 on average.
_FULL = {
    "encoder_base": (60, "encoder --size base"),
    "steps_base": (180, "step_sizes --size base"),
    "launches_base": (60, "launches --size base"),
    "encoder_base_compiled": (130, "encoder --size base --compiled --loads full rows_flex rows_sdpa titles"),
    "resumed": (80, "resumed --size minilm --trajectories 8192 --save-every 20"),
    "memory_base": (60, f"steps --size base {_AT_256} {_MEMORY}"),
    "tests": (60, ""),
    "steps_base_rows": (60, f"steps --size base {_AT_256} {_ROWS} --policies once cached"),
    "steps_base_compiled": (120, f"steps --size base {_AT_256} {_ROWS} --policies once cached --compiled"),
    "flatness": (180, "flatness --size minilm"),
    "start": (120, "start --trajectories 20000 100000 --ranks 1 --rounds 3"),
    "saves": (90, "saves"),
    "steps_minilm": (120, "steps --size minilm --frozen-layers 5"),
    "encoder_minilm": (60, "encoder --size minilm --segments 4096"),
}
_SMALL = "--items 128 --batch-trajectories 1 --chunk-size 32"
_TINY = {
    "encoder_base": (240, "encoder --size tiny --segments 64 --repeats 1 --no-bfloat16"),
    "steps_base": (240, f"step_sizes {_SMALL} --trajectories 24 --step-batches 2 1 --repeats 1"),
    "launches_base": (240, "launches --items 128 --trajectories 8 --batch-trajectories 2"),
    "resumed": (240, "resumed --items 128 --trajectories 24 --batch-trajectories 2 --save-every 3"),
    "memory_base": (240, f"steps {_SMALL} --trajectories 12 --repeats 1 {_MEMORY}"),
    "tests": (240, ""),
    "flatness": (
        240,
        "flatness --trajectories 32 64 --items 130 256 --batch-trajectories 2 --live-items 100 --portions 2",
    ),
    "start": (
        240,
        "start --size tiny --trajectories 40 160 --items 128 --live-items 100 --batch-trajectories 4 --ranks 1 "
        "--rounds 1 --loader-ranks 1 2 --loader-steps 3",
    ),
    "saves": (240, "saves --size tiny --items 256 --batch-trajectories 2 --steps 3 --repeats 1"),
}
_SIZES = {"full": _FULL, "tiny": _TINY}


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceConfig:
    """Which benchmarks run, and where the record is written."""

    out: str = ""
    """folder for device.json and device.log"""
    minutes: float = 8.0
    """time limit of all benchmarks together; those that do not fit are recorded as not run"""
    size: str = "full"
    """full, or tiny, which takes seconds on a CPU and only shows that everything runs"""
    only: tuple[str, ...] = tuple(_FULL)
    """names of the benchmarks to run"""

    def __post_init__(self) -> None:
        if not self.out:
            raise InputError("--out is missing: name a folder for the record")
        if (Path(self.out) / RECORD).exists():
            raise InputError(f"--out {self.out} holds a record: name another folder, or remove it")
        if self.size not in _SIZES:
            raise InputError(f"--size is {self.size!r}: use {', '.join(_SIZES)}")
        if not 0 < self.minutes <= 24 * 60:
            raise InputError(f"--minutes is {self.minutes}: use more than 0, at most a day")
        if unknown := sorted(set(self.only) - set(_FULL)):
            raise InputError(f"--only names {unknown}: use {', '.join(_FULL)}")


def device(config: DeviceConfig, where: DeviceName) -> dict[str, Any]:
    """Run the chosen benchmarks and return the record of all of them."""
    stop_on_sigterm()
    about = {
        "device": str(device_of(where)),
        "size": config.size,
        "minutes": config.minutes,
        "graphics": nvidia_gpus(),
        **this_machine(),
    }
    chosen = [each for each in benchmarks(config.size, where) if each.name in config.only]
    return run_one_by_one(chosen, Path(config.out), seconds=60 * config.minutes, about=about)


def benchmarks(size: str, where: DeviceName) -> Iterator[Benchmark]:
    """The benchmarks of a size, the most important first."""
    for name, (seconds, words) in _SIZES[size].items():
        if name == "tests":
            command = ["-m", "jobs.bench.gpu_tests"]
        else:
            module, *options = words.split()
            command = ["-m", f"jobs.bench.{module}", *options, "--device", where]
        yield Benchmark(name=name, command=command, limit_seconds=seconds)


def nvidia_gpus() -> list[str]:
    """Name, driver, memory, highest clock and power limit of each NVIDIA GPU, as nvidia-smi reports them; empty without
    a GPU."""
    fields = "name,driver_version,memory.total,clocks.max.sm,power.limit"
    asked = ["nvidia-smi", f"--query-gpu={fields}", "--format=csv,noheader"]
    try:
        done = subprocess.run(asked, capture_output=True, text=True, check=False, timeout=30)
    except (OSError, subprocess.TimeoutExpired):  # no such tool, or it hangs
        return []
    return done.stdout.splitlines() if done.returncode == 0 else []


if __name__ == "__main__":
    raise SystemExit(run_plain("device", __doc__, DeviceConfig, device))
