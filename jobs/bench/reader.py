"""Benchmark: megabytes per second of both readers as in training, and of raw pyarrow and numpy on the same bytes."""

from __future__ import annotations

import io
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow.parquet as pq
from rich.table import Table

from jobs.cli.command_line import run
from jobs.cli.progress import console, stage
from schemas.errors import InputError
from schemas.storage.place import Place
from trainer.data.backends import BACKENDS
from trainer.data.cache import CacheConfig
from trainer.data.directory import Packed, PackedDirectory
from trainer.data.position import Order
from trainer.data.prefetch import prefetch
from trainer.data.reader import Reader, arrow_superblocks


class _Way(NamedTuple):
    """A way to read, and the number of epochs in one reading."""

    read: Callable[[], None]
    epochs: int


def reader(
    *,
    data: Place,
    beside: Place | None = None,
    epochs: int = 10,
    repeats: int = 5,
    batches_per_step: int = 1,
    plan_ahead: int = 4,
) -> dict[str, Any]:
    """Measure decoded megabytes per second: raw pyarrow + np.load, the Arrow reader, the Petastorm reader.

    Behind a URL, each reader is measured twice: one epoch with an empty cache, and all epochs with a full one.

    Parameters
    ----------
    data
        A packed directory.
    beside
        A second packed directory, such as the same data behind a URL; its readings alternate with those of the first.
    epochs
        Epochs per reading.
    repeats
        Readings of each kind, alternating; medians are reported.
    batches_per_step
        Packed batches per step, as in training.
    plan_ahead
        Steps that the loader's thread works ahead, as in training.
    """
    if min(epochs, repeats) < 1:
        raise InputError(f"--epochs is {epochs} and --repeats {repeats}: use 1 or more")
    order = Order(seed=1, batches_per_step=batches_per_step)
    with tempfile.TemporaryDirectory(prefix="feedloop-reader-") as scratch:
        ways, size = {}, {}
        for place in filter(None, (data, beside)):
            directory = PackedDirectory.open(Packed.of(place, CacheConfig(cache_dir=Path(scratch, "full"))))
            prefix = f"{'here' if place.is_local else 'there'}, " if beside else ""
            for name, way in _ways(directory, order, epochs, plan_ahead, Path(scratch)).items():
                ways[prefix + name], size[prefix + name] = way, _decoded_bytes(directory, order, way.epochs)
        every = _time_ways(ways, repeats)
    speed = {name: size[name] / statistics.median(seconds) / 1e6 for name, seconds in every.items()}
    _print(speed, every)
    return {
        "megabytes": round(max(size.values()) / 1e6, 1),
        "megabytes_per_second": {name: round(each, 1) for name, each in speed.items()},
        "of_raw": {name: round(each / speed["raw"], 3) for name, each in speed.items() if "raw" in speed},
        "seconds": {name: [round(each, 3) for each in seconds] for name, seconds in every.items()},
    }


def _time_ways(ways: dict[str, _Way], repeats: int) -> dict[str, list[float]]:
    """Seconds of each reading; the ways to read alternate."""
    every: dict[str, list[float]] = {name: [] for name in ways}
    with stage("reading") as bar:
        for repeat in range(repeats):
            for name, way in ways.items():
                began = time.perf_counter()
                way.read()
                every[name].append(time.perf_counter() - began)
            bar.at(repeat + 1, repeats)
    return every


def _ways(directory: PackedDirectory, order: Order, epochs: int, depth: int, scratch: Path) -> dict[str, _Way]:
    loaders = {str(name): Reader(directory, order, backend) for name, backend in BACKENDS.items()}
    cached = {name: _Way(partial(_read_epochs, loader, epochs, depth), epochs) for name, loader in loaders.items()}
    if directory.place.is_local:
        return {"raw": _Way(partial(_read_raw, directory, order, epochs), epochs), **cached}
    ways = {}
    for name, backend in BACKENDS.items():
        read_uncached = partial(_read_uncached, directory.place, scratch)
        ways[f"{name}, empty cache"] = _Way(
            partial(read_uncached, partial(Reader, order=order, backend=backend), depth), 1
        )
        ways[f"{name}, full cache"] = cached[str(name)]
    return ways


def _read_uncached(place: Place, scratch: Path, made: Callable[[PackedDirectory], Reader], depth: int) -> None:
    """Read one epoch from an empty cache; the token table and the evaluation impressions are fetched too."""
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        _read_epochs(made(PackedDirectory.open(Packed(place, CacheConfig(cache_dir=Path(folder))))), 1, depth)


def _read_epochs(loader: Reader, epochs: int, depth: int) -> None:
    """Read as training does: in the loader's thread, with checks, in steps."""
    for epoch in range(epochs):
        for _ in prefetch(loader.steps(epoch), depth=depth):
            pass


def _read_raw(directory: PackedDirectory, order: Order, epochs: int) -> None:
    """Only decode, in one thread: row groups in the same order, each cell by np.load."""
    files = {path: pq.ParquetFile(directory.root.path / path) for path, _, _ in directory.superblocks}
    for epoch in range(epochs):
        for block in _blocks(directory, order, epoch):
            path, row_group, _ = directory.superblocks[block]
            for column in files[path].read_row_group(row_group).columns:
                for cell in column.to_pylist():
                    np.load(io.BytesIO(cell), allow_pickle=False)


def _blocks(directory: PackedDirectory, order: Order, epoch: int) -> list[int]:
    return [*Reader(directory, order).line(epoch).last_places()]


def _decoded_bytes(directory: PackedDirectory, order: Order, epochs: int) -> int:
    """Total bytes of the arrays of these epochs."""
    blocks = [block for epoch in range(epochs) for block in _blocks(directory, order, epoch)]
    size = {}
    for block, batches in zip(sorted(set(blocks)), arrow_superblocks(directory, sorted(set(blocks))), strict=True):
        size[block] = sum(array.nbytes for batch in batches for array in batch.values())
    return sum(size[block] for block in blocks)


def _print(speed: dict[str, float], every: dict[str, list[float]]) -> None:
    table = Table(title="Decoded MB/s")
    for column in ("way", "MB/s", "of raw", "fastest to slowest, s"):
        table.add_column(column, justify="left" if column == "way" else "right")
    for name, each in speed.items():
        seconds = f"{min(every[name]):.2f} to {max(every[name]):.2f}"
        of_raw = f"{each / speed['raw']:.2f}" if "raw" in speed else ""
        table.add_row(name, f"{each:,.0f}", of_raw, seconds)
    console.print(table)


if __name__ == "__main__":
    raise SystemExit(run(reader))
