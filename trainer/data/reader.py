"""Reads the steps of an epoch from a packed directory, in the order that position.py decides."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from schemas.errors import ContractError
from schemas.packed_batch import PACKED_BATCH
from trainer.data.batch import StepBatch, check_batch
from trainer.data.cells import decoded_rows
from trainer.data.directory import Arrays, PackedDirectory
from trainer.data.position import Blocks, Line, Order, epoch_line, steps_per_epoch

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


@dataclass(frozen=True, slots=True)
class Place:
    """One packed batch: its superblock in packed order, and its index there."""

    superblock: int
    index: int


@dataclass(frozen=True, slots=True)
class _Variant:
    """What the epochs of one variant read: its superblocks, and targets and their weights of each batch (N,)."""

    blocks: Blocks
    target_N: NDArray[np.int64]
    weight_N: NDArray[np.float64]

    @classmethod
    def of(cls, directory: PackedDirectory, variant: int) -> _Variant:
        """As the manifest describes it."""
        numbers = [*directory.superblock_sizes(variant)]
        entries = [directory.superblocks[number][2] for number in numbers]
        blocks = Blocks(
            number_B=np.array(numbers, np.int64),
            size_B=np.array([len(entry.batches) for entry in entries], np.int64),
            cost_B=np.array([sum(entry.items) for entry in entries], np.int64),
        )
        target_N = np.fromiter(chain.from_iterable(entry.targets for entry in entries), np.int64)
        weight_N = np.fromiter(chain.from_iterable(entry.weights for entry in entries), np.float64)
        return cls(blocks, target_N, weight_N)


class Reader:
    """The steps of each epoch of a packed directory; every superblock is checked against the manifest."""

    def __init__(self, directory: PackedDirectory, order: Order, backend: Backend = arrow_superblocks) -> None:
        self.directory = directory
        self.order = order
        self._backend = backend
        self._variants = [_Variant.of(directory, variant) for variant in range(directory.variants)]

    def steps_in(self, epoch: int) -> int:
        """The number of steps of the epoch, including the short last one."""
        return steps_per_epoch(self._variant(epoch).blocks, self.order)

    def targets(self, epoch: int) -> list[int]:
        """Targets of each step of the epoch, over all ranks, from the manifest alone."""
        target_N = self._variant(epoch).target_N[self.line(epoch).batch_N]
        starts = np.arange(0, len(target_N), self.order.batches_per_step)
        return [int(targets) for targets in np.add.reduceat(target_N, starts)]

    def weights(self, epoch: int, *, first_step: int = 0) -> list[float]:
        """Sum of target weights of each step from `first_step` on, over all ranks, from the manifest alone."""
        weights = self._variant(epoch).weight_N[self.line(epoch).batch_N].tolist()
        per_step = self.order.batches_per_step
        return [sum(weights[at : at + per_step]) for at in range(first_step * per_step, len(weights), per_step)]

    def line(self, epoch: int) -> Line:
        """The batches of all ranks in the order of the epoch's steps; reads nothing."""
        return epoch_line(self._variant(epoch).blocks, self.order, epoch)

    def places(self, epoch: int, *, first_step: int = 0) -> Iterator[list[Place]]:
        """This rank's batches of each step of the epoch; reads nothing."""
        line = self.line(epoch)
        for places in line.steps(first_step=first_step, rank=self.order.rank):
            pairs = zip(line.superblock_N[places].tolist(), line.index_N[places].tolist(), strict=True)
            yield [Place(*pair) for pair in pairs]

    def steps(self, epoch: int, *, first_step: int = 0) -> Iterator[list[StepBatch]]:
        """This rank's batches of each step from `first_step` on. ContractError if one is missing or out of order."""
        for dealt in self.steps_by_rank(epoch, first_step=first_step):
            yield dealt[self.order.rank]

    def steps_by_rank(
        self, epoch: int, *, first_step: int = 0, all_ranks: bool = False
    ) -> Iterator[dict[int, list[StepBatch]]]:
        """Rank -> its batches of each step from `first_step` on; `all_ranks`: of all, otherwise of this one alone.

        A superblock is read when a step needs it and held until no later one does. ContractError as in `steps`.
        """
        line, rank = self.line(epoch), None if all_ranks else self.order.rank
        owners = range(self.order.world) if all_ranks else [self.order.rank]
        last_places = line.last_places(first_step=first_step, rank=rank)
        arriving = self._arriving([*last_places])
        held: dict[int, list[StepBatch]] = {}
        for places in line.steps(first_step=first_step, rank=rank):
            dealt: dict[int, list[StepBatch]] = {owner: [] for owner in owners}
            for place in places.tolist():
                superblock = int(line.superblock_N[place])
                while superblock not in held:
                    block, batches = next(arriving)
                    held[block] = batches
                dealt[int(line.rank_N[place])].append(held[superblock][int(line.index_N[place])])
            yield dealt
            done = int(places.max(initial=-1))
            held = {block: batches for block, batches in held.items() if last_places[block] > done}

    def _variant(self, epoch: int) -> _Variant:
        return self._variants[epoch % len(self._variants)]

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
