"""Stopping politely: SIGTERM and Ctrl-C are noted, so that the work at hand can be finished and saved."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from jobs.terminal.progress import console


@contextmanager
def stop_requests() -> Iterator[Callable[[], bool]]:
    """While open, the first SIGTERM or Ctrl-C is noted and told by what is yielded; a second one ends the process."""
    noted: list[int] = []

    def note(number: int, _frame: FrameType | None) -> None:
        noted.append(number)
        for each in before:
            signal.signal(each, before[each])
        console.print("  stopping after this step; once more to stop at once", style="yellow")

    before = {each: signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT)}
    for each in before:
        signal.signal(each, note)
    try:
        yield lambda: bool(noted)
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
