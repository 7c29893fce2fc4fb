"""Progress on stderr: a bar on a terminal, one line per finished stage everywhere."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

console = Console(stderr=True, highlight=False)
seconds_of_stages: dict[str, float] = {}
"""seconds that each stage of this process took so far, by name; the sum of repeated runs; nested stages are left out"""
_open: list[str] = []


@dataclass(slots=True)
class Bar:
    """The bar of one stage."""

    progress: Progress
    task: TaskID
    done: int = 0

    def at(self, done: int, total: int, words: str = "") -> None:
        """Set how much of the stage is done."""
        self.done = done
        self.progress.update(self.task, completed=done, total=total, words=words)

    def more(self, count: int, total: int) -> None:
        """Add `count` to what is done."""
        self.at(self.done + count, total, f"{self.done + count:,} of {total:,}")


@contextmanager
def stage(name: str) -> Iterator[Bar]:
    """Show `name` as a bar while the block runs, then how long it took. The block reports its progress."""
    began = time.perf_counter()
    _open.append(name)
    columns = (
        TextColumn("  {task.description:<28}"),
        BarColumn(bar_width=32),
        TextColumn("{task.fields[words]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        try:
            yield Bar(progress, progress.add_task(name, total=None, words=""))
        finally:
            nested = len(_open) > 1
            _open.pop()
    spent = time.perf_counter() - began
    if not nested:
        seconds_of_stages[name] = seconds_of_stages.get(name, 0.0) + spent
    console.print(f"  [green]done[/green] {name:<28} {spent:6.1f} s")


@contextmanager
def quiet() -> Iterator[None]:
    """Inside, nothing is printed to the terminal."""
    before, console.quiet = console.quiet, True
    yield
    console.quiet = before
