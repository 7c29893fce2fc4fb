"""prefetch: same items, same order, errors come through, no thread is left."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from trainer.data.prefetch import prefetch


def threads() -> int:
    return sum(thread.name == "prefetch" for thread in threading.enumerate())


def test_everything_arrives_in_order() -> None:
    assert list(prefetch(iter(range(100)), depth=3)) == list(range(100))
    assert threads() == 0


def test_the_source_is_at_most_depth_ahead() -> None:
    taken: list[int] = []

    def source() -> Iterator[int]:
        for number in range(50):
            taken.append(number)
            yield number

    stream = prefetch(source(), depth=2)
    next(stream)
    for _ in range(20):
        threading.Event().wait(0.01)
    assert len(taken) <= 1 + 2 + 1  # handed out, waiting, in hand
    stream.close()


def test_an_error_in_the_thread_reaches_the_consumer() -> None:
    def source() -> Iterator[int]:
        yield 1
        raise OSError("the disk is gone")

    stream = prefetch(source(), depth=4)
    assert next(stream) == 1
    with pytest.raises(OSError, match="the disk is gone"):
        next(stream)
    assert threads() == 0


def test_a_consumer_that_stops_early_leaves_no_thread() -> None:
    stream = prefetch(iter(range(1000)), depth=1)
    next(stream)
    stream.close()
    assert threads() == 0
