"""Benchmark: megabytes a second of both readers, as training reads, beside raw pyarrow and numpy on the same bytes."""

from __future__ import annotations

import io
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from rich.table import Table

from jobs.config import run
from jobs.terminal.progress import console, stage
from schemas.errors import InputError
from trainer.data.backends import BACKENDS
from trainer.data.directory import PackedDirectory
from trainer.data.position import Order
from trainer.data.prefetch import prefetch
from trainer.data.reader import Reader, arrow_superblocks


def reader(
    *, data: Path, epochs: int = 10, repeats: int = 5, batches_per_step: int = 1, plan_ahead: int = 4
) -> dict[str, Any]:
    """Decoded megabytes a second: raw pyarrow + np.load, the Arrow reader, the Petastorm reader.

    Parameters
    ----------
    data
        A packed directory.
    epochs
        Read in one go.
    repeats
        Of each way, in turns; medians are told.
    batches_per_step
        As in training.
    plan_ahead
        Steps that the loader's thread is ahead, as in training.
    """
    if min(epochs, repeats) < 1:
        raise InputError(f"--epochs is {epochs} and --repeats {repeats}: use 1 or more")
    directory = PackedDirectory.open(data)
    order = Order(seed=1, batches_per_step=batches_per_step)
    loaders = {str(name): Reader(directory, order, backend) for name, backend in BACKENDS.items()}
    ways: dict[str, Callable[[], None]] = {"raw": partial(_raw, directory, order, epochs)}
    ways |= {name: partial(_through, loader, epochs, plan_ahead) for name, loader in loaders.items()}
    bytes_read = _decoded_bytes(directory, order, epochs)
    every: dict[str, list[float]] = {name: [] for name in ways}
    with stage("reading") as bar:
        for repeat in range(repeats):
            for name, way in ways.items():
                began = time.perf_counter()
                way()
                every[name].append(time.perf_counter() - began)
            bar.at(repeat + 1, repeats)
    speed = {name: bytes_read / statistics.median(seconds) / 1e6 for name, seconds in every.items()}
    _print(speed, every)
    return {
        "megabytes": round(bytes_read / 1e6, 1),
        "megabytes_per_second": {name: round(each, 1) for name, each in speed.items()},
        "of_raw": {name: round(each / speed["raw"], 3) for name, each in speed.items()},
        "seconds": {name: [round(each, 3) for each in seconds] for name, seconds in every.items()},
    }


def _through(loader: Reader, epochs: int, depth: int) -> None:
    """As training reads: in the loader's thread, checked, in steps."""
    for epoch in range(epochs):
        for _ in prefetch(loader.steps(epoch), depth=depth):
            pass


def _raw(directory: PackedDirectory, order: Order, epochs: int) -> None:
    """Nothing but decoding, in one thread: row groups in the same order, each cell by np.load."""
    files = {path: pq.ParquetFile(directory.path / path) for path, _, _ in directory.superblocks}
    for epoch in range(epochs):
        for block in _blocks(directory, order, epoch):
            path, row_group, _ = directory.superblocks[block]
            for column in files[path].read_row_group(row_group).columns:
                for cell in column.to_pylist():
                    np.load(io.BytesIO(cell), allow_pickle=False)


def _blocks(directory: PackedDirectory, order: Order, epoch: int) -> list[int]:
    steps = Reader(directory, order).places(epoch)
    return list(dict.fromkeys(place.superblock for step in steps for place in step))


def _decoded_bytes(directory: PackedDirectory, order: Order, epochs: int) -> int:
    """Bytes of all arrays that these epochs deliver."""
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
        table.add_row(name, f"{each:,.0f}", f"{each / speed['raw']:.2f}", seconds)
    console.print(table)


if __name__ == "__main__":
    raise SystemExit(run(reader))
