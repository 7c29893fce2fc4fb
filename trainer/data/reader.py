"""Reads the steps of an epoch from a packed directory, in the order that position.py decides."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from schemas.errors import ContractError
from schemas.packed_batch import PACKED_BATCH
from trainer.data.batch import StepBatch, check_batch
from trainer.data.cells import decoded_rows
from trainer.data.directory import Arrays, PackedDirectory
from trainer.data.position import Order, Place, epoch_steps, steps_of_all_ranks, superblocks_of

# Superblocks (in packed order) -> for each, its batches as arrays.
Backend = Callable[[PackedDirectory, Sequence[int]], Iterator[list[Arrays]]]


def arrow_superblocks(directory: PackedDirectory, wanted: Sequence[int]) -> Iterator[list[Arrays]]:
    """Reads row groups with plain pyarrow and numpy. ContractError names a file that cannot be read."""
    superblocks, names = directory.superblocks, [field.name for field in PACKED_BATCH]
    with directory.files.row_groups([superblocks[number][:2] for number in wanted]) as open_file:
        for number in wanted:
            path, row_group, _ = superblocks[number]
            with directory.reading(number), open_file(path) as file:
                # Arrow's threads would call the file, which is Python's, and abort a process that ends meanwhile.
                table = file.read_row_group(row_group, columns=names, use_threads=False)
                batches: list[Arrays] = [*decoded_rows(table, names)]
            yield batches


class Reader:
    """The steps of each epoch of a packed directory; every superblock is checked against the manifest."""

    def __init__(self, directory: PackedDirectory, order: Order, backend: Backend = arrow_superblocks) -> None:
        self.directory = directory
        self.order = order
        self._backend = backend

    def places(self, epoch: int, *, first_step: int = 0) -> list[list[Place]]:
        """This rank's batches of each step of the epoch; reads nothing."""
        return epoch_steps(self.directory.superblock_sizes(epoch), self.order, epoch, first_step=first_step)

    def steps_of_all_ranks(self, epoch: int, *, first_step: int = 0) -> list[list[Place]]:
        """The batches of all ranks of each step of the epoch; reads nothing."""
        return steps_of_all_ranks(self.directory.superblock_sizes(epoch), self.order, epoch, first_step=first_step)

    def steps(self, epoch: int, *, first_step: int = 0) -> Iterator[list[StepBatch]]:
        """This rank's batches of each step from `first_step` on. ContractError if one is missing or out of order."""
        steps = self.places(epoch, first_step=first_step)
        arriving = self._arriving(superblocks_of(steps))
        held: dict[int, list[StepBatch]] = {}
        last_use = {place.superblock: number for number, step in enumerate(steps) for place in step}
        for number, step in enumerate(steps):
            for place in step:
                while place.superblock not in held:
                    block, batches = next(arriving)
                    held[block] = batches
            yield [held[place.superblock][place.index] for place in step]
            held = {block: batches for block, batches in held.items() if last_use[block] > number}

    def _arriving(self, wanted: Sequence[int]) -> Iterator[tuple[int, list[StepBatch]]]:
        delivered = self._backend(self.directory, wanted)
        for number in wanted:
            yield number, checked_superblock(self.directory, number, next(delivered, []))


def checked_superblock(directory: PackedDirectory, number: int, arrays: Sequence[Arrays]) -> list[StepBatch]:
    """The batches of superblock `number`. ContractError names the file and the row group where batch ids or targets
    differ from those of the manifest."""
    where, entry = directory.place_of(number), directory.superblocks[number][2]
    rows = directory.manifest.tokens.rows
    batches = [check_batch(batch, f"{where}, row {n}", rows=rows) for n, batch in enumerate(arrays)]
    found = tuple(int(batch["batch_id"][0]) for batch in arrays)
    if found != entry.batches:
        raise ContractError(f"{where}: batches {found}, the manifest says {entry.batches}. Pack again with jobs.pack")
    targets = tuple(batch.targets for batch in batches)
    if targets != entry.targets:
        raise ContractError(f"{where}: targets {targets}, the manifest says {entry.targets}. Pack again with jobs.pack")
    return batches
