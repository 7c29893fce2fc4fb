"""Fetching ahead: in order, bounded, errors in their turn, and nothing stays open."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import closing

import pytest

from trainer.data.ahead import Bounds, done_ahead


class Result:
    def __init__(self, number: int, made: list[Result]) -> None:
        self.number, self.closed = number, False
        made.append(self)

    def close(self) -> None:
        self.closed = True


def tasks(
    many: int, made: list[Result], *, fails: int | None = None, size: int = 10
) -> list[tuple[int, Callable[[], Result]]]:
    def task(number: int) -> Callable[[], Result]:
        def do() -> Result:
            time.sleep(0.002 * (number % 3))  # so that they end in another order
            if number == fails:
                raise ValueError(f"task {number}")
            return Result(number, made)

        return do

    return [(size, task(number)) for number in range(many)]


def test_results_come_in_order_and_the_error_in_its_turn() -> None:
    made: list[Result] = []
    assert [result.number for result in done_ahead(tasks(50, made))] == list(range(50))
    failing = done_ahead(tasks(50, made, fails=7))
    assert [next(failing).number for _ in range(7)] == list(range(7))
    with pytest.raises(ValueError, match="task 7"):
        next(failing)
    assert list(done_ahead([])) == []


@pytest.mark.parametrize(
    ("bounds", "most"), [(Bounds(bytes=35), 3), (Bounds(tasks=5), 5), (Bounds(bytes=1), 1), (Bounds(bytes=0), 1)]
)
def test_the_bounds_limit_the_tasks_that_run_ahead(bounds: Bounds, most: int) -> None:
    made: list[Result] = []
    for number, _ in enumerate(done_ahead(tasks(40, made), bounds)):
        time.sleep(0.001)
        assert len(made) <= number + 1 + most


def test_results_not_taken_are_closed_and_no_thread_stays() -> None:
    made: list[Result] = []
    with closing(done_ahead(tasks(50, made))) as results:
        next(results).close()
    assert all(result.closed for result in made)
    assert not any(thread.name.startswith("ahead") for thread in threading.enumerate())
