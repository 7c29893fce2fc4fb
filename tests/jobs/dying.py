"""A job that SIGKILLs itself at a request to object storage: `python -m tests.jobs.dying NUMBER JOB OPTIONS`.

NUMBER counts requests that change something, from 0; the process dies before that one is sent.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
from collections.abc import Callable
from itertools import count
from typing import Any

from jobs.cli.command_line import run
from schemas.storage.objects import ObjectStore

CHANGES = ("write", "create", "remove")


def noting(note: Callable[[str], None]) -> None:
    """From now on each request of this process that changes an object store is first recorded by its name."""

    def noted(name: str) -> Any:
        function = getattr(ObjectStore, name)

        def request(store: ObjectStore, *positional: Any, **named: Any) -> Any:
            note(name)
            return function(store, *positional, **named)

        return request

    for name in CHANGES:
        setattr(ObjectStore, name, noted(name))


def _main(number: str, job: str, *options: str) -> int:
    numbers = count()

    def dies(_: str) -> None:
        if next(numbers) == int(number):
            os.kill(os.getpid(), signal.SIGKILL)

    noting(dies)
    return run(getattr(importlib.import_module(f"jobs.{job}"), job), options)


if __name__ == "__main__":
    raise SystemExit(_main(*sys.argv[1:]))
