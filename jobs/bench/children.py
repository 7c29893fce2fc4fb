"""Seconds of a job in processes of its own, as a user starts it."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from jobs.cli.child import run_child
from jobs.cli.progress import stage


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Seconds of a process: the median of `every` without those that Spark takes to start, and its last report."""

    seconds: float
    every: list[float]
    summary: dict[str, Any]


def measured(
    words: str, module: str, options: Sequence[object], before: Callable[[], object], *, repeats: int, start: float
) -> Measured:
    """`python -m module options` so many times, each after a call of `before`; `start` seconds are taken off each."""
    every = []
    for _ in range(repeats):
        before()
        began = time.perf_counter()
        with stage(words):
            summary = run_child(module, options)
        every.append(round(time.perf_counter() - began - start, 2))
    return Measured(seconds=statistics.median(every), every=every, summary=summary)
