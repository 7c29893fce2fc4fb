"""Reads every batch of a packed directory once, checks it against the manifest and describes it in figures."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from schemas.errors import ContractError
from schemas.item_use import ItemUse, use_file
from schemas.manifest import Superblock
from schemas.news import PAD_ROW
from trainer.data.directory import Arrays, PackedDirectory
from trainer.data.reader import arrow_superblocks, checked_superblock

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

FIGURES = (
    "variant", "superblock", "trajectories", "targets", "clicks", "item_occurrences", "click_cells", "candidate_cells",
    "candidates", "items", "items_of_batch_before", "pins",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Description:
    """Figures of each batch, in packed order."""

    columns: dict[str, IntArray]  # by the names of FIGURES, one number per batch
    length_B: IntArray  # clicks of each trajectory, in packed order
    holders_V: IntArray  # number of trajectories that hold each item row, over all variants

    def sum(self, name: str) -> int:
        """The sum of one figure over all batches."""
        return int(self.columns[name].sum())

    @property
    def summary(self) -> dict[str, float]:
        """The quality of the packing: reuse, padding, spread."""
        items, batches = self.columns["items"], len(self.columns["items"])
        occurrences, clicks = self.sum("item_occurrences"), self.sum("clicks")
        return {
            "batches": batches,
            "trajectories": self.sum("trajectories"),
            "targets": self.sum("targets"),
            "items_per_batch": round(float(items.mean()), 1),
            "items_spread": round(float(items.max() / items.mean()), 3),
            "uses_of_an_item": round(occurrences / self.sum("items"), 3),
            "ratio_to_random": round(self.sum("items") / self.expected_at_random(), 4),
            "of_batch_before": round(self.sum("items_of_batch_before") / self.sum("items"), 4),
            "click_padding": round(1 - clicks / self.sum("click_cells"), 4),
            "candidate_padding": round(1 - self.sum("candidates") / max(1, self.sum("candidate_cells")), 4),
            "clicks_per_trajectory": round(float(self.length_B.mean()), 2),
            "length_spread": round(float(self._longest().mean() / self.length_B.mean()), 3),
        }

    def expected_at_random(self) -> float:
        """Expected distinct items, summed over batches of the same sizes, if batches took trajectories at random.

        An item that h of n trajectories hold is missing from a batch of b with probability C(n-h, b) / C(n, b).
        """
        variants = 1 + int(self.columns["variant"].max())
        count = self.sum("trajectories") // variants
        held = np.bincount(self.holders_V[self.holders_V > 0])  # how many items are held by h trajectories
        held_by = np.flatnonzero(held)
        in_one = np.minimum(held_by / variants, count)
        total = 0.0
        sizes, batches = np.unique(self.columns["trajectories"], return_counts=True)
        for size, number in zip(sizes.tolist(), batches.tolist(), strict=True):
            missing = [math.exp(_log_choose(count - h, size) - _log_choose(count, size)) for h in in_one.tolist()]
            total += number * float((held[held_by] * (1 - np.array(missing))).sum())
        return total

    def _longest(self) -> IntArray:
        """Clicks of each batch's longest trajectory."""
        starts = np.concatenate([[0], np.cumsum(self.columns["trajectories"])[:-1]])
        longest: IntArray = np.maximum.reduceat(self.length_B, starts)
        return longest


def describe(directory: PackedDirectory) -> Description:
    """Reads all superblocks, and the impressions where item use is listed. ContractError names the file where a batch
    disagrees with the manifest or the tokens, or the item use with batches or impressions."""
    rows: list[list[int]] = []
    lengths: list[IntArray] = []
    holders_V = np.zeros(directory.manifest.tokens.rows, np.int64)
    clicks_V = np.zeros_like(holders_V)
    before = np.zeros(0, np.int32)
    for number, entry, batch in _batches(directory):
        lengths.append(batch["click_mask_BL"].sum(axis=1))
        held = _pins(batch)
        holders_V[batch["item_row_N"]] += np.bincount(held, minlength=len(batch["item_row_N"]))
        if entry.variant == 0:
            np.add.at(clicks_V, batch["item_row_N"][batch["click_slot_BL"][batch["click_mask_BL"]]], 1)
        rows.append([entry.variant, number, *_figures(batch, before), len(held)])
        before = batch["item_row_N"]
    columns = dict(zip(FIGURES, np.array(rows, np.int64).reshape(-1, len(FIGURES)).T, strict=True))
    found = Description(columns, np.concatenate(lengths), holders_V)
    _check_counts(directory, found)
    _check_item_use(directory, clicks_V, holders_V)
    return found


def _batches(directory: PackedDirectory) -> Iterator[tuple[int, Superblock, Arrays]]:
    superblocks = directory.superblocks
    delivered = arrow_superblocks(directory, range(len(superblocks)))
    for number, arrays in enumerate(delivered):
        checked_superblock(directory, number, arrays)
        where, entry = directory.place_of(number), superblocks[number][2]
        found = sum(len(batch["click_mask_BL"]) for batch in arrays)
        if found != entry.trajectories:
            raise ContractError(
                f"{where}: {found} trajectories, the manifest says {entry.trajectories}. Pack again with jobs.pack"
            )
        for batch in arrays:
            _check_items(batch, where)
            yield number, entry, batch


def _check_items(batch: Arrays, where: str) -> None:
    used = np.zeros(len(batch["item_row_N"]), np.bool_)
    for slots, mask in (("click_slot_BL", "click_mask_BL"), ("target_slot_BLK", "target_mask_BLK")):
        used[batch[slots][batch[mask]]] = True
    if not used.all():
        raise ContractError(
            f"{where}, batch {int(batch['batch_id'][0])}: {np.count_nonzero(~used)} of its items are used by no slot. "
            "Pack again with jobs.pack"
        )


def _pins(batch: Arrays) -> IntArray:
    """The slot of each distinct item of each trajectory."""
    count = len(batch["item_row_N"])
    pairs = []
    for slots, mask in (("click_slot_BL", "click_mask_BL"), ("target_slot_BLK", "target_mask_BLK")):
        owner = np.nonzero(batch[mask])[0]
        pairs.append(owner * count + batch[slots][batch[mask]])
    distinct: IntArray = np.unique(np.concatenate(pairs)) % count
    return distinct


def _figures(batch: Arrays, before: NDArray[np.int32]) -> list[int]:
    """The figures from `trajectories` to `items_of_batch_before`, in the order of FIGURES."""
    clicks, candidates = batch["click_mask_BL"], batch["target_mask_BLK"]
    targets = batch["weight_BL"] > 0
    again = np.isin(batch["item_row_N"], before, assume_unique=True)
    counts = (clicks.sum(), clicks.sum() + candidates.sum(), clicks.size, targets.sum() * candidates.shape[2])
    return [len(clicks), *map(int, (targets.sum(), *counts, candidates.sum(), len(again), again.sum()))]


def _check_counts(directory: PackedDirectory, found: Description) -> None:
    listed = directory.manifest.counts
    summed = ("trajectories", "targets", "clicks", "item_occurrences")
    counted = {name: found.sum(name) for name in summed}
    counted |= {"batches": len(found.columns["items"]), "distinct_items_per_epoch": found.sum("items")}
    differing = [
        f"{name} {listed[name]}, found {count}" for name, count in counted.items() if listed.get(name, count) != count
    ]
    if differing:
        raise ContractError(f"{directory.place}: the manifest says {'; '.join(differing)}. Pack again with jobs.pack")


def _check_item_use(directory: PackedDirectory, clicks_V: IntArray, holders_V: IntArray) -> None:
    use = directory.item_use()
    if use is None:
        return
    evaluation, seen_V = directory.evaluation(), np.zeros(len(holders_V), np.bool_)
    for name in ("history_row", "shown_row"):
        seen_V[evaluation[name].combine_chunks().flatten().to_numpy()] = True
    seen_V[PAD_ROW] = False  # unlabelled impressions may show news without an item
    found = ItemUse(clicks_V=clicks_V, in_batches_V=holders_V > 0, in_evaluation_V=seen_V)
    for name, array in found.arrays().items():
        differing = np.flatnonzero(use.arrays()[name] != array)
        if len(differing):
            row = int(differing[0])
            raise ContractError(
                f"{directory.root / use_file(name)}: {use.arrays()[name][row]} for item row {row}, found {array[row]}. "
                "Pack again with jobs.pack"
            )


def _log_choose(total: float, chosen: float) -> float:
    if chosen > total:
        return -math.inf
    return math.lgamma(total + 1) - math.lgamma(chosen + 1) - math.lgamma(total - chosen + 1)
