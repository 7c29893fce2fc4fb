"""PACKED_BATCH: the arrays of one mini-batch. Each item is stored once; slots point at it.

Shape letters of the entire project: N items, S segments, T tokens, D vector, B trajectories, L clicks,
K candidates (1 clicked + negatives), V items in all, G batches per step, W ranks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas.errors import ContractError

FORMAT_VERSION = 3
_AGAIN = "Pack again with jobs.pack"


@dataclass(frozen=True, slots=True)
class Array:
    """One field: dtype, the letters of its axes ('1' = a scalar kept as shape (1,)), meaning."""

    name: str
    dtype: str
    axes: str
    meaning: str


PACKED_BATCH: tuple[Array, ...] = (
    Array("format_version", "int32", "1", "FORMAT_VERSION of the writer"),
    Array("batch_id", "int64", "1", "position of the batch in the packed order, from 0"),
    Array("target_count", "int64", "1", "targets in the batch: positions with weight > 0"),
    Array("weight_sum", "float64", "1", "sum of weight_BL: the batch's share of the loss count"),
    Array("item_row_N", "int32", "N", "the distinct items, ascending; never the pad"),
    Array("click_slot_BL", "int32", "BL", "slot of each click, oldest first; 0 where masked"),
    Array("click_mask_BL", "bool", "BL", "true where there is a click; padding follows the clicks"),
    Array(
        "target_slot_BLK", "int32", "BLK", "slots of each target's candidates, the clicked one first; 0 where masked"
    ),
    Array("target_mask_BLK", "bool", "BLK", "true where there is a candidate"),
    Array("prefix_BL", "int32", "BL", "number of clicks of the trajectory that the target may see"),
    Array("label_BL", "int8", "BL", "knowledge tracing: 1 correct, 0 not; -1 = no label (ranking)"),
    Array("weight_BL", "float32", "BL", "weight of the target in the loss; 0 = context only or padding"),
    Array("logged_BL", "bool", "BL", "the target was made inside an impression of the log"),
)


def check_arrays(arrays: Mapping[str, NDArray[np.generic]], where: str, *, rows: int) -> None:
    """Raise ContractError unless names, dtypes, axes and values match PACKED_BATCH.

    `rows`: of the token table that the batch's items index.
    """
    names = [field.name for field in PACKED_BATCH]
    if set(arrays) != set(names):
        raise ContractError(f"{where}: fields {sorted(arrays)}, PACKED_BATCH says {sorted(names)}. {_AGAIN}")
    sizes = _sizes(arrays, where)
    version = int(arrays["format_version"][0])
    if version != FORMAT_VERSION:
        raise ContractError(f"{where}: format version {version}, this code reads {FORMAT_VERSION}. {_AGAIN}")
    for says, holds in _rules(arrays, sizes["N"], rows):
        if not holds:
            raise ContractError(f"{where}: {says}. {_AGAIN}")


def _sizes(arrays: Mapping[str, NDArray[np.generic]], where: str) -> dict[str, int]:
    """The length of each axis by its letter; ContractError where dtypes or axes differ, or fields disagree."""
    sizes: dict[str, int] = {"1": 1}
    for field in PACKED_BATCH:
        array = arrays[field.name]
        if array.dtype != np.dtype(field.dtype) or array.ndim != len(field.axes):
            raise ContractError(
                f"{where}: {field.name} is {array.dtype} of {array.ndim} axes, "
                f"PACKED_BATCH says {field.dtype} {field.axes}. {_AGAIN}"
            )
        for letter, size in zip(field.axes, array.shape, strict=True):
            if sizes.setdefault(letter, size) != size:
                raise ContractError(
                    f"{where}: {field.name} has {size} along {letter}, others {sizes[letter]}. {_AGAIN}"
                )
    return sizes


def _rules(arrays: Mapping[str, NDArray[Any]], items: int, rows: int) -> Iterator[tuple[str, bool]]:
    """(fault, whether the rule holds) of each rule: a value that breaks one would train on other data."""
    item_N, click_BL, target_BLK = (arrays[name] for name in ("item_row_N", "click_mask_BL", "target_mask_BLK"))
    weight_BL, prefix_BL = arrays["weight_BL"], arrays["prefix_BL"]
    yield f"item_row_N holds the pad or a row beyond the {rows} of the token table", within(item_N, 1, rows)
    yield (
        "item_row_N does not rise: an item twice, or out of order",
        bool((item_N[1:] > item_N[:-1]).all()),
    )
    for name in ("click_slot_BL", "target_slot_BLK"):
        yield f"{name} points outside the {items} items of the batch", within(arrays[name], 0, items)
    yield "click_mask_BL has a click behind padding", not (click_BL[:, 1:] & ~click_BL[:, :-1]).any()
    place_L = np.arange(prefix_BL.shape[1], dtype=prefix_BL.dtype)
    yield "prefix_BL shows a target itself or what came later", bool(((prefix_BL >= 0) & (prefix_BL <= place_L)).all())
    yield "weight_BL is negative or not finite", bool((np.isfinite(weight_BL) & (weight_BL >= 0)).all())
    targets_BL = weight_BL > 0
    yield "weight_BL has a target where there is no click", not (targets_BL & ~click_BL).any()
    yield "target_mask_BLK lacks a target's clicked candidate", bool(target_BLK[:, :, :1][targets_BL].all())
    yield "label_BL is none of -1, 0 and 1", within(arrays["label_BL"], -1, 2)
    yield "target_count is not the number of targets", int(arrays["target_count"][0]) == int(targets_BL.sum())
    stated, found = float(arrays["weight_sum"][0]), float(weight_BL.sum(dtype=np.float64))
    yield "weight_sum is not the sum of weight_BL", abs(stated - found) <= 1e-6 * max(1.0, found)


def within(array: NDArray[Any], least: int, end: int) -> bool:
    """Whether every number is `least` or more and below `end`."""
    return array.size == 0 or bool(array.min() >= least and array.max() < end)
