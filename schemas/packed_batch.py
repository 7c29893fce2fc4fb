"""PACKED_BATCH: the arrays of one mini-batch, each item in it stored once and slots pointing at it.

Shape letters of the whole project: N items, S segments, T tokens, D vector, B trajectories, L clicks,
K candidates (1 clicked + negatives), V items in all, G batches per step, W ranks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from schemas.errors import ContractError

FORMAT_VERSION = 3


@dataclass(frozen=True, slots=True)
class Array:
    """One field: dtype, the letters of its axes ('1' = a scalar kept as shape (1,)), meaning."""

    name: str
    dtype: str
    axes: str
    meaning: str


PACKED_BATCH: tuple[Array, ...] = (
    Array("format_version", "int32", "1", "FORMAT_VERSION of the writer"),
    Array("batch_id", "int64", "1", "place of the batch in the packed order, from 0"),
    Array("target_count", "int64", "1", "targets in the batch: positions with weight > 0"),
    Array("weight_sum", "float64", "1", "sum of weight_BL: the batch's share of the loss count"),
    Array("item_row_N", "int32", "N", "the distinct items, ascending; never the pad"),
    Array("click_slot_BL", "int32", "BL", "slot of each click, oldest first; 0 where masked"),
    Array("click_mask_BL", "bool", "BL", "a click stands here; padding follows the clicks"),
    Array(
        "target_slot_BLK", "int32", "BLK", "slots of each target's candidates, the clicked one first; 0 where masked"
    ),
    Array("target_mask_BLK", "bool", "BLK", "a candidate stands here"),
    Array("prefix_BL", "int32", "BL", "how many clicks of the trajectory the target may see"),
    Array("label_BL", "int8", "BL", "knowledge tracing: 1 correct, 0 not; -1 = no label (ranking)"),
    Array("weight_BL", "float32", "BL", "weight of the target in the loss; 0 = context only or padding"),
    Array("logged_BL", "bool", "BL", "the target was made inside an impression of the log"),
)


def check_arrays(arrays: Mapping[str, NDArray[np.generic]], where: str) -> None:
    """Raise ContractError unless names, dtypes, axes and slots are as PACKED_BATCH says."""
    names = [field.name for field in PACKED_BATCH]
    if set(arrays) != set(names):
        raise ContractError(
            f"{where}: fields {sorted(arrays)}, PACKED_BATCH says {sorted(names)}. Pack again with jobs.pack"
        )
    version = int(arrays["format_version"].reshape(-1)[0])
    if version != FORMAT_VERSION:
        raise ContractError(
            f"{where}: format version {version}, this code reads {FORMAT_VERSION}. Pack again with jobs.pack"
        )
    sizes: dict[str, int] = {"1": 1}
    for field in PACKED_BATCH:
        array = arrays[field.name]
        if array.dtype != np.dtype(field.dtype) or array.ndim != len(field.axes):
            raise ContractError(
                f"{where}: {field.name} is {array.dtype} of {array.ndim} axes, "
                f"PACKED_BATCH says {field.dtype} {field.axes}. Pack again with jobs.pack"
            )
        for letter, size in zip(field.axes, array.shape, strict=True):
            if sizes.setdefault(letter, size) != size:
                raise ContractError(f"{where}: {field.name} has {size} along {letter}, others {sizes[letter]}")
    for name in ("click_slot_BL", "target_slot_BLK"):
        slots = arrays[name]
        if slots.size and (slots.min() < 0 or slots.max() >= sizes["N"]):
            raise ContractError(f"{where}: {name} points outside the {sizes['N']} items of the batch")
