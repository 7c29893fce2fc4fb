"""A job with short leases: `python -m tests.jobs.leased_briefly JOB OPTIONS`; a killed run's lease ends in seconds."""

from __future__ import annotations

import importlib
import sys
import time
from datetime import UTC, datetime, timedelta

import pytest

from jobs.cli.command_line import run
from pipelines.lake import leases
from schemas.storage.files import below, read
from schemas.storage.place import Place
from schemas.strict_json import decoded

LENGTH, MARGIN = timedelta(seconds=8), timedelta(0)


def briefly(patch: pytest.MonkeyPatch) -> None:
    """From now on leases of this process are short."""
    patch.setattr(leases, "LENGTH", LENGTH)
    patch.setattr(leases, "MARGIN", MARGIN)


def wait_for_the_dead(lake: Place) -> int:
    """Wait until the leases of killed jobs have expired; returns their number."""
    names = [name for name, _ in below(lake / "_locks") if ".lease/" in name]
    left = [read(lake / "_locks" / name, largest=1 << 16) for name in names]
    for text in left:
        lease = decoded(text, leases.Lease, str(lake))
        ends = datetime.fromisoformat(lease.until) + MARGIN
        time.sleep(max(0.0, (ends - datetime.now(UTC)).total_seconds() + 0.1))
    return len(left)


def _main(job: str, *options: str) -> int:
    with pytest.MonkeyPatch.context() as patch:
        briefly(patch)
        return run(getattr(importlib.import_module(f"jobs.{job}"), job), options)


if __name__ == "__main__":
    raise SystemExit(_main(*sys.argv[1:]))
