"""Background: one job at a time; an error reaches the thread that waits, once."""

from __future__ import annotations

import threading

import pytest

from trainer.checkpoint.background import Background


class Held:
    """A job that ends when it is let go."""

    def __init__(self) -> None:
        self.begun, self.let_go, self.ended = threading.Event(), threading.Event(), False

    def __call__(self) -> None:
        self.begun.set()
        assert self.let_go.wait(60)
        self.ended = True


def failing() -> None:
    raise OSError("the disk is gone")


def test_a_job_runs_while_its_starter_goes_on_and_the_next_waits_for_it() -> None:
    held, order = Held(), []
    with Background("test") as background:
        background.start(held)
        assert held.begun.wait(60)
        background.check()  # does not wait
        assert not held.ended
        threading.Timer(0.05, held.let_go.set).start()
        background.start(lambda: order.append(held.ended))
        assert held.ended
    assert order == [True]


def test_an_error_is_raised_once_wherever_it_is_asked_for() -> None:
    for ask in (Background.check, Background.wait, lambda background: background.start(lambda: None)):
        background = Background("test")
        background.start(failing)
        while not background._job.done():  # type: ignore[union-attr]
            pass
        with pytest.raises(OSError, match="the disk is gone"):
            ask(background)
        background.check()
        background.wait()


def test_leaving_waits_and_raises_the_jobs_error() -> None:
    held = Held()
    with Background("test") as background:
        background.start(held)
        threading.Timer(0.05, held.let_go.set).start()
    assert held.ended
    with pytest.raises(OSError, match="the disk is gone"), Background("test") as background:
        background.start(failing)


def test_leaving_by_an_error_waits_and_notes_the_jobs_error() -> None:
    def run() -> None:
        with Background("test") as background:
            background.start(failing)
            raise ValueError("why the run failed")

    with pytest.raises(ValueError, match="why the run failed") as raised:
        run()
    assert raised.value.__notes__ == ["the disk is gone"]
