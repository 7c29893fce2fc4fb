"""A run and its records -> one HTML page: inputs, speed, quality, examples of recommendations."""

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
from schemas.storage.stand_in import local_copy
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
    """Write the page of a run: one file that needs no network.

    Parameters
    ----------
    run
        Folder of the run, the --out of `train`.
    summary
        The demo's summary.json; by default the one next to the run, if it is of this run.
    lake
        Folder of the Delta tables, for the inputs that no summary states.
    data
        The packed directory; by default the one that the run was trained on. If named, every batch is read.
    out
        The page, by default report.html in --run.
    """
    page = out or run / PAGE
    with local_run(run) as folder, _local_file(summary) as summary_file, published(page) as file:
        places = Places(run=folder, named=run, summary=summary_file, lake=lake, data=data, cache=cache)
        return {**write_page(places, file, read_batches=data is not None), "page": str(page)}


@contextmanager
def _local_file(place: Place | None) -> Iterator[Path | None]:
    if place is None:
        yield None
        return
    with local_copy(place) as path:
        yield path


if __name__ == "__main__":
    raise SystemExit(run_job(report))
