"""Runs tasks in a few threads before their results are requested, in order and within bounds of bytes and tasks."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple, Protocol, TypeVar


class Closable(Protocol):
    """The result of a task."""

    def close(self) -> None:
        """Releases its resources."""


Held = TypeVar("Held", bound=Closable)


class Bounds(NamedTuple):
    """How far ahead tasks run: in bytes and in tasks; and the number of threads."""

    bytes: int = 64 << 20
    tasks: int = 16
    threads: int = 8


BOUNDS = Bounds()


def done_ahead(tasks: Sequence[tuple[int, Callable[[], Held]]], bounds: Bounds = BOUNDS) -> Generator[Held, None, None]:
    """The results of the (bytes, task) in their order. A failed task's error is raised in its turn.

    One task runs whatever its size. The caller closes the results that it takes; the others are closed here.
    """
    waiting: deque[tuple[int, Future[Held]]] = deque()
    given, on_way = 0, 0
    with ThreadPoolExecutor(bounds.threads, thread_name_prefix="ahead") as pool:
        try:
            while given < len(tasks) or waiting:
                while given < len(tasks) and _fits(waiting, on_way + tasks[given][0], bounds):
                    size, task = tasks[given]
                    waiting.append((size, pool.submit(task)))
                    given, on_way = given + 1, on_way + size
                size, first = waiting.popleft()
                yield first.result()
                on_way -= size
        finally:
            for _, future in waiting:
                if not future.cancel():
                    future.add_done_callback(_close)


def _fits(waiting: deque[tuple[int, Future[Held]]], size: int, bounds: Bounds) -> bool:
    return not waiting or (size <= bounds.bytes and len(waiting) < bounds.tasks)


def _close(future: Future[Held]) -> None:
    if not future.cancelled() and future.exception() is None:
        future.result().close()
