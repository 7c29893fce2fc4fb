"""Graceful stop: SIGTERM and Ctrl-C are acknowledged at once; the current work is finished and saved."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from jobs.cli.progress import console

_ASKS = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def stop_requests(doing: Callable[[], str] = lambda: "this step") -> Iterator[Callable[[], bool]]:
    """Inside, the yielded function returns whether a SIGTERM or Ctrl-C has come; a second one ends the process.

    `doing`: describes what is finished first. It is printed at once, even while the main thread is inside of a long
    call to torch, where Python runs no handler.
    """
    noted: list[int] = []

    def note(number: int, _frame: FrameType | None) -> None:
        noted.append(number)

    before = {each: signal.getsignal(each) for each in _ASKS}
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    answering = threading.Thread(target=_answer, args=(reading, doing), daemon=True)
    earlier = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    for each in before:
        signal.signal(each, note)
    answering.start()
    try:
        yield lambda: bool(noted)
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
        signal.set_wakeup_fd(earlier)
        os.close(writing)
        answering.join()
        os.close(reading)


def _answer(reading: int, doing: Callable[[], str]) -> None:
    """Print what is finished first at the first signal; end the process at the second: saved files are complete."""
    asked = False
    while number := os.read(reading, 1):
        if number[0] not in _ASKS:
            continue
        if asked:
            console.show_cursor()
            os._exit(128 + number[0])
        asked, name = True, signal.Signals(number[0]).name
        console.print(f"  {name}: stopping after {doing()}; once more to stop at once", style="yellow")
