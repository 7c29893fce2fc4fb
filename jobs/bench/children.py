"""Times a job in child processes, started as a user starts it."""

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
    """Median seconds of a job, without the start of its engine; `every` has each run, `summary` is of the last."""

    seconds: float
    every: list[float]
    summary: dict[str, Any]


def time_job(
    words: str, module: str, options: Sequence[object], before: Callable[[], object], *, repeats: int, start: float
) -> Measured:
    """Time `python -m module options` `repeats` times, each after `before()`; `start` seconds are subtracted."""
    every = []
    for _ in range(repeats):
        before()
        began = time.perf_counter()
        with stage(words):
            summary = run_child(module, options)
        every.append(round(time.perf_counter() - began - start, 2))
    return Measured(seconds=statistics.median(every), every=every, summary=summary)
