"""Background: runs one job at a time in a thread and raises its error in the thread that waits for it."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Self


class Background:
    """One job at a time, in a thread of its own. On leaving its context, the last job has ended."""

    def __init__(self, name: str) -> None:
        """`name`: of the thread."""
        self._pool = ThreadPoolExecutor(1, name)
        self._job: Future[object] | None = None

    def start(self, job: Callable[[], object]) -> None:
        """Start `job` when the one before has ended; raises the error of that one."""
        self.wait()
        self._job = self._pool.submit(job)

    def check(self) -> None:
        """Raise the job's error if it has failed; does not wait."""
        if self._job is not None and self._job.done():
            self.wait()

    def wait(self) -> None:
        """Return when no job runs; raises the error of the last one, once."""
        job, self._job = self._job, None
        if job is not None:
            job.result()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self.wait()
        except Exception as other:
            if error is None:
                raise
            error.add_note(str(other))  # must not hide why the run failed
