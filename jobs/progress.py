"""Progress on the terminal: bars where someone watches, one line per stage where nobody does."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

console = Console(stderr=True)

Advance = Callable[[int, int, str], None]  # (done, in all, a few words)


@contextmanager
def stage(name: str) -> Iterator[Advance]:
    """Show `name` as a bar while the block runs, then how long it took. The block tells how far it is."""
    began = time.perf_counter()
    columns = (
        TextColumn("  {task.description:<28}"),
        BarColumn(bar_width=32),
        TextColumn("{task.fields[words]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(name, total=None, words="")

        def advance(done: int, total: int, words: str = "") -> None:
            progress.update(task, completed=done, total=total, words=words)

        yield advance
    console.print(f"  [green]done[/green] {name:<28} {time.perf_counter() - began:6.1f} s", highlight=False)
