"""Verify every batch of a packed directory and report its figures: counts, reuse, padding, spread, a plot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jobs.cli.batches import show_batches
from jobs.cli.command_line import run
from jobs.cli.plot import draw
from jobs.cli.progress import stage
from schemas.errors import InputError
from schemas.storage.copies import published
from schemas.storage.place import Place
from trainer.data.cache import CacheConfig
from trainer.data.description import describe
from trainer.data.directory import Packed, PackedDirectory
from trainer.data.files import Verify


def inspect_batches(
    *,
    data: Place,
    plot: Place | None = None,
    verify: Verify = "full",
    cache: CacheConfig = CacheConfig(),  # noqa: B008 - frozen
) -> dict[str, Any]:
    """Verify a packed directory and describe its batches.

    Parameters
    ----------
    data
        The packed directory that `pack` wrote.
    plot
        PNG to draw; by default `<data>.png` next to the directory, or in the working folder if `data` is remote.
    verify
        Sums to check first: of a few files, a tenth, or all (full). Others are checked when they are read.
    """
    data = Place.of(data).resolve()
    path = Place.of(_default_plot(data)) if plot is None else plot
    if Path(path.name).suffix.lower() != ".png":
        raise InputError(f"--plot {path}: name a file that ends in .png")
    with stage("sizes and sha256 of files"):
        directory = PackedDirectory.open(Packed(data, cache, verify))
    with stage("token table and evaluation impressions"):
        directory.token_table()
        directory.evaluation()
    with stage("every batch"):
        found = describe(directory)
    show_batches(directory.manifest, found)
    counts, config = directory.manifest.counts, directory.manifest.config
    title = f"{data.name}: {found.summary['batches']:,} batches in order {config.get('order')}"
    with published(path) as file:
        file.parent.mkdir(parents=True, exist_ok=True)
        draw(found, file, title=title)
    return found.summary | {"variants": counts.get("variants", 1), "order": config.get("order"), "plot": str(path)}


def _default_plot(data: Place) -> Path:
    return data.path.with_name(f"{data.name}.png") if data.is_local else Path(f"{data.name}.png")


if __name__ == "__main__":
    raise SystemExit(run(inspect_batches))
