"""Profiles a few training steps: time by operator, and a trace file for a browser."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch.profiler import ProfilerActivity, profile

FOLDER = "profile"
AFTER_STEPS = 3  # of this process, which allocate memory and choose kernels
_TOP = 12


class Operator(NamedTuple):
    """An operator's own CPU and device time over all profiled steps, without the operators that it calls."""

    name: str
    calls: int
    cpu_seconds: float
    device_seconds: float


@dataclass(frozen=True, slots=True)
class Profiled:
    """The result of profiling."""

    steps: int
    operators: list[Operator]
    """the operators with the most own time, on the device if there is one"""
    trace: Path


class StepProfile:
    """Is called after each step and profiles `steps` of them, without changing what they compute."""

    def __init__(self, out: Path, *, first: int, steps: int) -> None:
        """`first`: steps that the run took before."""
        self._folder = out / FOLDER
        self._begin, self._end = first + AFTER_STEPS, first + AFTER_STEPS + steps
        self._profile: profile | None = None

    def after_step(self, done: int) -> Profiled | None:
        """Start or finish profiling when due; return the result when finished. `done`: steps taken by the run."""
        if self._profile is None and self._begin <= done < self._end:
            self._begin = done
            self._profile = profile(activities=_activities(), acc_events=True)
            self._profile.start()
        elif self._profile is not None and done >= self._end:
            return self.end(done)
        return None

    def end(self, done: int) -> Profiled | None:
        """Finish and return the result so far; None if profiling has not started or is finished."""
        running, self._profile = self._profile, None
        if running is None:
            return None
        running.stop()
        self._end = self._begin  # profile only once
        self._folder.mkdir(parents=True, exist_ok=True)
        trace = self._folder / f"steps-{self._begin + 1:08d}-{done:08d}.json.gz"
        running.export_chrome_trace(str(trace))
        return Profiled(done - self._begin, _operators(running), trace)


def _activities() -> list[ProfilerActivity]:
    return [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if torch.cuda.is_available() else [])]


def _operators(finished: profile) -> list[Operator]:
    found = [
        Operator(each.key, each.count, each.self_cpu_time_total / 1e6, each.self_device_time_total / 1e6)
        for each in finished.key_averages()
    ]
    found.sort(key=lambda operator: (operator.device_seconds, operator.cpu_seconds), reverse=True)
    return found[:_TOP]
