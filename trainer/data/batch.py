"""Turns the arrays of packed batches into a StepBatch, the data of one step: pure functions on numpy arrays.

P is the number of targets per trajectory: positions without weight, which are only context, are removed from the target
axis here, so that the head does not score them. A StepBatch requests M items; the planner maps them to N rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas.packed_batch import check_arrays

IntArray = NDArray[np.integer[Any]]
BoolArray = NDArray[np.bool_]
FloatArray = NDArray[np.floating[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class StepBatch:
    """One rank's share of a step. Slots point into `ask_M`, the requested item rows."""

    ask_M: IntArray
    click_slot_BL: IntArray
    click_mask_BL: BoolArray
    earlier_BL: IntArray  # number of clicks of impressions before the click's own
    target_slot_BPK: IntArray
    target_mask_BPK: BoolArray
    prefix_BP: IntArray
    weight_BP: FloatArray  # 0 = padding

    @property
    def targets(self) -> int:
        """The number of valid targets, which clicks/s counts."""
        return int(np.count_nonzero(self.weight_BP))

    @property
    def weight_sum(self) -> float:
        """This share's part of the loss count."""
        return float(self.weight_BP.sum(dtype=np.float64))


def check_batch(arrays: Mapping[str, NDArray[Any]], where: str, *, rows: int) -> StepBatch:
    """A StepBatch of the arrays of one PACKED_BATCH, which are checked. `rows`: of the token table.

    ContractError names `where`.
    """
    check_arrays(arrays, where, rows=rows)
    weight_BL = arrays["weight_BL"]
    order_BP = compact(weight_BL > 0)
    taken_BP = np.take_along_axis(weight_BL, order_BP, axis=1)
    return StepBatch(
        ask_M=arrays["item_row_N"],
        click_slot_BL=arrays["click_slot_BL"],
        click_mask_BL=arrays["click_mask_BL"],
        earlier_BL=arrays["prefix_BL"],
        target_slot_BPK=np.take_along_axis(arrays["target_slot_BLK"], order_BP[:, :, None], axis=1),
        target_mask_BPK=np.take_along_axis(arrays["target_mask_BLK"], order_BP[:, :, None], axis=1),
        prefix_BP=np.take_along_axis(arrays["prefix_BL"], order_BP, axis=1),
        weight_BP=taken_BP,
    )


def compact(valid_BL: BoolArray) -> IntArray:
    """Index (B, P) of each row's valid positions, in order and first; P = the most of any row, at least 1."""
    longest = max(1, int(valid_BL.sum(axis=1).max(initial=0)))
    return np.argsort(~valid_BL, axis=1, kind="stable")[:, :longest]


def empty_batch() -> StepBatch:
    """The share of a rank for which a short step has no batch."""
    return StepBatch(
        ask_M=np.zeros(0, np.int64),
        click_slot_BL=np.zeros((0, 1), np.int64),
        click_mask_BL=np.zeros((0, 1), np.bool_),
        earlier_BL=np.zeros((0, 1), np.int64),
        target_slot_BPK=np.zeros((0, 1, 1), np.int64),
        target_mask_BPK=np.zeros((0, 1, 1), np.bool_),
        prefix_BP=np.zeros((0, 1), np.int64),
        weight_BP=np.zeros((0, 1), np.float32),
    )


def asked_of(batches: Sequence[StepBatch]) -> IntArray:
    """The item rows that these batches request: `merge(batches).ask_M` without the work of merging."""
    return np.concatenate([empty_batch().ask_M, *(batch.ask_M for batch in batches)])


def merge(batches: Sequence[StepBatch]) -> StepBatch:
    """Joins batches to one StepBatch: slots shifted to the concatenated items, axes padded to the longest."""
    if not batches:
        return empty_batch()
    if len(batches) == 1:
        return batches[0]
    starts = np.cumsum([0, *(len(batch.ask_M) for batch in batches[:-1])])
    shifted = [
        replace(
            batch,
            click_slot_BL=np.where(batch.click_mask_BL, batch.click_slot_BL + start, 0),
            target_slot_BPK=np.where(batch.target_mask_BPK, batch.target_slot_BPK + start, 0),
        )
        for batch, start in zip(batches, starts, strict=True)
    ]
    merged = {field.name: _stack([getattr(batch, field.name) for batch in shifted]) for field in fields(StepBatch)}
    return StepBatch(**merged)


def _stack(arrays: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """Concatenates along the first axis and pads the others with zeros to the longest."""
    shape = (sum(len(array) for array in arrays), *np.max([array.shape[1:] for array in arrays], axis=0).astype(int))
    stacked = np.zeros(shape, arrays[0].dtype)
    start = 0
    for array in arrays:
        stacked[(slice(start, start + len(array)), *(slice(0, size) for size in array.shape[1:]))] = array
        start += len(array)
    return stacked


def per_occurrence(batch: StepBatch) -> StepBatch:
    """The same batch, requesting an item once per occurrence, as a trainer without encode-once does."""
    click_M = batch.ask_M[batch.click_slot_BL[batch.click_mask_BL]]
    target_M = batch.ask_M[batch.target_slot_BPK[batch.target_mask_BPK]]
    return replace(
        batch,
        ask_M=np.concatenate([click_M, target_M]),
        click_slot_BL=_numbered(batch.click_mask_BL, start=0),
        target_slot_BPK=_numbered(batch.target_mask_BPK, start=len(click_M)),
    )


def _numbered(mask: BoolArray, *, start: int) -> IntArray:
    slots = np.zeros(mask.shape, np.int64)
    slots[mask] = start + np.arange(np.count_nonzero(mask))
    return slots


def per_target(batch: StepBatch) -> StepBatch:
    """One sample per target, with its own prefix and candidates, as most trainers cut their data."""
    sample_U, position_U = np.nonzero(batch.weight_BP)
    prefix_U = batch.prefix_BP[sample_U, position_U]
    longest = max(1, int(prefix_U.max(initial=0)))
    return replace(
        batch,
        click_slot_BL=batch.click_slot_BL[sample_U, :longest],
        click_mask_BL=batch.click_mask_BL[sample_U, :longest] & (np.arange(longest) < prefix_U[:, None]),
        earlier_BL=batch.earlier_BL[sample_U, :longest],
        target_slot_BPK=batch.target_slot_BPK[sample_U, position_U][:, None],
        target_mask_BPK=batch.target_mask_BPK[sample_U, position_U][:, None],
        prefix_BP=prefix_U[:, None],
        weight_BP=batch.weight_BP[sample_U, position_U][:, None],
    )


def cut_samples(batch: StepBatch, *, samples: int) -> list[StepBatch]:
    """Consecutive StepBatches of at most `samples` trajectories each; `ask_M` stays as it is."""
    axes = [field.name for field in fields(StepBatch) if field.name != "ask_M"]
    return [
        replace(batch, **{name: getattr(batch, name)[start : start + samples] for name in axes})
        for start in range(0, len(batch.weight_BP), samples)
    ]
