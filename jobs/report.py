"""A run and all that is known of it -> one HTML page: what went in, how fast, how good, what a user would see."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from jobs.cli.command_line import run as run_job
from jobs.page.facts import Places
from jobs.page.page import PAGE, write_page
from jobs.page.reading import local_run
from schemas.storage.copies import published
from schemas.storage.place import Place
from schemas.storage.stand_in import here
from trainer.data.cache import CacheConfig


def report(
    *,
    run: Place,
    summary: Place | None = None,
    lake: Place | None = None,
    data: Place | None = None,
    out: Place | None = None,
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
    page = out or run / PAGE
    with local_run(run) as folder, _file_here(summary) as told, published(page) as file:
        places = Places(run=folder, named=run, summary=told, lake=lake, data=data, cache=cache)
        return {**write_page(places, file, read_batches=data is not None), "page": str(page)}


@contextmanager
def _file_here(place: Place | None) -> Iterator[Path | None]:
    if place is None:
        yield None
        return
    with here(place) as path:
        yield path


if __name__ == "__main__":
    raise SystemExit(run_job(report))
