"""Reader: packed directory -> the steps of an epoch, in an order that position.py alone decides."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pyarrow.parquet as pq

from schemas.errors import ContractError, InputError
from schemas.packed_batch import PACKED_BATCH
from trainer.data.batch import StepBatch, check_batch
from trainer.data.directory import Arrays, PackedDirectory
from trainer.data.position import Order, Place, epoch_steps, superblocks_of

# Superblocks (in packed order) -> for each, its batches as arrays.
Backend = Callable[[PackedDirectory, Sequence[int]], Iterator[list[Arrays]]]


def arrow_superblocks(directory: PackedDirectory, wanted: Sequence[int]) -> Iterator[list[Arrays]]:
    """Read row groups with plain pyarrow and numpy."""
    superblocks = directory.manifest.superblocks
    open_files: dict[str, pq.ParquetFile] = {}
    for number in wanted:
        path, row_group, _ = superblocks[number]
        if path not in open_files:
            open_files[path] = pq.ParquetFile(directory.path / path)
        columns = open_files[path].read_row_group(row_group, columns=[field.name for field in PACKED_BATCH]).to_pydict()
        rows = len(columns["batch_id"])
        yield [
            {name: np.load(io.BytesIO(cells[row]), allow_pickle=False) for name, cells in columns.items()}
            for row in range(rows)
        ]


class Reader:
    """Steps of an epoch from a packed directory; every epoch's count is checked against the manifest."""

    def __init__(self, directory: PackedDirectory, order: Order, backend: Backend = arrow_superblocks) -> None:
        self.directory = directory
        self.order = order
        self._backend = backend
        self._superblocks = directory.manifest.superblocks  # sorted anew at each call

    def places(self, epoch: int, *, first_step: int = 0) -> list[list[Place]]:
        """Which batches each step of the epoch holds for this rank; nothing is read."""
        return epoch_steps(self.directory.superblock_sizes, self.order, epoch, first_step=first_step)

    def steps(self, epoch: int, *, first_step: int = 0) -> Iterator[list[StepBatch]]:
        """This rank's batches of each step from `first_step` on; ContractError if one is lost or out of place."""
        steps = self.places(epoch, first_step=first_step)
        wanted = superblocks_of(steps)
        arriving = zip(wanted, self._backend(self.directory, wanted), strict=True)
        held: dict[int, list[StepBatch]] = {}
        last_use = {place.superblock: number for number, step in enumerate(steps) for place in step}
        for number, step in enumerate(steps):
            for place in step:
                while place.superblock not in held:
                    block, arrays = _next(arriving, self.directory)
                    held[block] = self._checked(block, arrays)
            yield [held[place.superblock][place.index] for place in step]
            held = {block: batches for block, batches in held.items() if last_use[block] > number}

    def _checked(self, block: int, arrays: list[Arrays]) -> list[StepBatch]:
        """The batches of one superblock, in place, in number and with the targets that the manifest lists."""
        path, row_group, entry = self._superblocks[block]
        where = f"{self.directory.path / path}, row group {row_group}"
        found = tuple(int(batch["batch_id"].reshape(-1)[0]) for batch in arrays)
        if found != entry.batches:
            raise ContractError(
                f"{where}: batches {found}, the manifest says {entry.batches}. Pack again with jobs.pack"
            )
        batches = [check_batch(batch, f"{where}, batch {n}") for n, batch in zip(found, arrays, strict=True)]
        targets = tuple(batch.targets for batch in batches)
        if targets != entry.targets:
            raise ContractError(
                f"{where}: targets {targets}, the manifest says {entry.targets}. Pack again with jobs.pack"
            )
        return batches


def _next(arriving: Iterator[tuple[int, list[Arrays]]], directory: PackedDirectory) -> tuple[int, list[Arrays]]:
    try:
        return next(arriving)
    except (StopIteration, ValueError) as error:  # zip(strict) raises ValueError when the backend ends early
        if isinstance(error, InputError):
            raise
        raise ContractError(
            f"{directory.path}: the reader delivered fewer superblocks than the manifest lists"
        ) from error
    except OSError as error:  # pyarrow's ArrowInvalid on a damaged page is an OSError or ValueError
        raise ContractError(
            f"{directory.path}: a batch file cannot be read ({error}). Pack again with jobs.pack"
        ) from error
