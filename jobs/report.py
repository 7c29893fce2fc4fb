"""A run and all that is known of it -> one HTML page: what went in, how fast, how good, what a user would see."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jobs.config import run as run_job
from jobs.page.facts import Places
from jobs.page.page import PAGE, write_page
from schemas.storage.place import Place
from trainer.data.cache import CacheConfig


def report(
    *,
    run: Path,
    summary: Path | None = None,
    lake: Path | None = None,
    data: Place | None = None,
    out: Path | None = None,
    cache: CacheConfig = CacheConfig(),  # noqa: B008 - frozen
) -> dict[str, Any]:
    """Write the page of a run: one file, which needs no network and can be sent to anybody.

    Parameters
    ----------
    run
        Folder of the run, the --out of `train`.
    summary
        The demo's summary.json; by default the one beside the run, if it tells of this run.
    lake
        Folder of the Delta tables, for what went in where no summary tells it.
    data
        The packed directory; by default the one that the run was trained on. Where named, every batch is read.
    out
        The page, by default <run>/report.html.
    """
    places = Places(run=run, summary=summary, lake=lake, data=data, cache=cache)
    return write_page(places, out or run / PAGE, read_batches=data is not None)


if __name__ == "__main__":
    raise SystemExit(run_job(report))
