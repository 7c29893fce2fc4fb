"""Benchmark: runs all GPU benchmarks with one command, the most important first. Needs what `steps` needs.

Writes device.json, which is valid JSON at every moment, and device.log to the folder --out. A benchmark that fails is
recorded with its error, and the next one runs.
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

_GPU_OPTIONS = ("--bfloat16", "--row-tokens", "128", "--attention-dropout", "0")  # usual settings on a GPU
_MEMORY = ("--kept-chunks", "0", "--policies", "naive", "once", "cached", "accumulated")
# Name -> module and options, the most important first. Segments of 32 tokens are full; titles have 15.9 on average.
_FULL = {
    "encoder_base": ("encoder", "--size", "base", "--segments", "1024", "--tokens", "32", "--row-tokens", "128"),
    "encoder_base_compiled": ("encoder", "--size", "base", "--compiled"),
    "steps_base": ("steps", "--size", "base", *_GPU_OPTIONS, "--chunk-size", "512"),
    "memory_base": ("steps", "--size", "base", *_GPU_OPTIONS, "--chunk-size", "512", "--repeats", "2", *_MEMORY),
    "resumed": ("resumed", "--size", "minilm", *_GPU_OPTIONS, "--trajectories", "8192", "--save-every", "20"),
    "tests": (),
    "steps_minilm": ("steps", "--size", "minilm", "--frozen-layers", "5", "--bfloat16", "--chunk-size", "512"),
    "encoder_minilm": ("encoder", "--size", "minilm", "--segments", "4096"),
    "steps_base_compiled": ("steps", "--size", "base", *_GPU_OPTIONS, "--chunk-size", "512", "--compiled"),
    "flatness": ("flatness", "--size", "minilm", "--bfloat16"),
}
_SMALL = ("--items", "128", "--trajectories", "12", "--batch-trajectories", "1", "--chunk-size", "32", "--repeats", "1")
_TINY = {
    "encoder_base": ("encoder", "--size", "tiny", "--segments", "64", "--repeats", "2"),
    "steps_base": ("steps", *_SMALL),
    "memory_base": ("steps", *_SMALL, *_MEMORY),
    "resumed": ("resumed", "--items", "128", "--trajectories", "24", "--batch-trajectories", "2", "--save-every", "3"),
    "tests": (),
    "flatness": ("flatness", "--trajectories", "32", "64", "--items", "130", "256", "--batch-trajectories", "2",
                 "--live-items", "100", "--portions", "2"),
}  # fmt: skip
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
    for name, (*words,) in _SIZES[size].items():
        if name == "tests":
            yield Benchmark(name=name, command=["-m", "jobs.bench.gpu_tests"])
        else:
            module, *options = words
            yield Benchmark(name=name, command=["-m", f"jobs.bench.{module}", *options, "--device", where])


def nvidia_gpus() -> list[str]:
    """Name, driver and memory of each NVIDIA GPU, as nvidia-smi reports them; empty without a GPU."""
    asked = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
    try:
        done = subprocess.run(asked, capture_output=True, text=True, check=False, timeout=30)
    except (OSError, subprocess.TimeoutExpired):  # no such tool, or it hangs
        return []
    return done.stdout.splitlines() if done.returncode == 0 else []


if __name__ == "__main__":
    raise SystemExit(run_plain("device", __doc__, DeviceConfig, device))
