"""Assembles consecutive trajectories into the arrays of one PACKED_BATCH, which stores each item once."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.packing.shard import IntArray, Shard
from schemas.news import PAD_ROW
from schemas.packed_batch import FORMAT_VERSION

Arrays = dict[str, NDArray[Any]]

# The counts of a batch in the manifest.
FACTS = ("trajectories", "targets", "weights", "items", "clicks", "item_occurrences", "items_per_target_sample")


def assemble(shard: Shard, start: int, stop: int, *, batch_id: int) -> Arrays:
    """The batch of trajectories `start` up to `stop`. L and K are the maximum lengths in the batch."""
    first, last = int(shard.click_start[start]), int(shard.click_start[stop])
    lowest, highest = int(shard.candidate_start[first]), int(shard.candidate_start[last])
    click_row, candidate_row = shard.click_row[first:last], shard.candidate_row[lowest:highest]
    item_row_N, slot = np.unique(np.concatenate([click_row, candidate_row]), return_inverse=True)
    assert item_row_N.min(initial=PAD_ROW + 1) > PAD_ROW, f"trajectories {start} to {stop} hold the pad as an item"

    lengths_B = np.diff(shard.click_start[start : stop + 1])
    counts = np.diff(shard.candidate_start[first : last + 1])
    trajectory, position = _places(lengths_B)
    click, candidate = _places(counts)
    at_BL, at_BLK = (trajectory, position), (trajectory[click], position[click], candidate)
    shape_BL = (stop - start, int(lengths_B.max()))
    shape_BLK = (*shape_BL, max(1, int(counts.max(initial=0))))
    weight_BL = _placed(shape_BL, at_BL, shard.weight[first:last].astype(np.float32))
    return {
        "format_version": np.array([FORMAT_VERSION], np.int32),
        "batch_id": np.array([batch_id], np.int64),
        "target_count": np.array([np.count_nonzero(weight_BL > 0)], np.int64),
        "weight_sum": np.array([weight_BL.sum(dtype=np.float64)], np.float64),
        "item_row_N": item_row_N.astype(np.int32),
        "click_slot_BL": _placed(shape_BL, at_BL, slot[: last - first].astype(np.int32)),
        "click_mask_BL": _placed(shape_BL, at_BL, np.ones(last - first, np.bool_)),
        "target_slot_BLK": _placed(shape_BLK, at_BLK, slot[last - first :].astype(np.int32)),
        "target_mask_BLK": _placed(shape_BLK, at_BLK, np.ones(highest - lowest, np.bool_)),
        "prefix_BL": _placed(shape_BL, at_BL, shard.prefix[first:last].astype(np.int32)),
        "label_BL": np.full(shape_BL, -1, np.int8),
        "weight_BL": weight_BL,
        "logged_BL": _placed(shape_BL, at_BL, shard.logged[first:last].astype(np.bool_)),
    }


def facts_of(arrays: Arrays) -> dict[str, float]:
    """The counts of one batch for the manifest, by the names of FACTS."""
    target_BL = arrays["weight_BL"] > 0
    clicks, candidates = int(arrays["click_mask_BL"].sum()), int(arrays["target_mask_BLK"].sum())
    seen_U = arrays["prefix_BL"][target_BL].sum(dtype=np.int64)
    return {
        "trajectories": len(target_BL),
        "targets": int(arrays["target_count"][0]),
        "weights": float(arrays["weight_sum"][0]),
        "items": len(arrays["item_row_N"]),
        "clicks": clicks,
        "item_occurrences": clicks + candidates,
        "items_per_target_sample": int(seen_U + arrays["target_mask_BLK"][target_BL].sum(dtype=np.int64)),
    }


def _places(counts: IntArray) -> tuple[IntArray, IntArray]:
    """(owner, position within the owner) of each of sum(counts) entries, grouped by owner."""
    owner = np.repeat(np.arange(len(counts)), counts)
    return owner, np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts)


def _placed(shape: tuple[int, ...], at: tuple[IntArray, ...], values: NDArray[Any]) -> NDArray[Any]:
    array: NDArray[Any] = np.zeros(shape, values.dtype)
    array[at] = values
    return array
