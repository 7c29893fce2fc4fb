"""ITEM_USE: what the batches and the evaluation impressions of a packed directory hold of each item row.

With these arrays a trainer starts without reading a batch or an impression. Older directories lack all of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from schemas.errors import ContractError
from schemas.news import PAD_ROW

ITEM_USE_FOLDER = "rows"
DTYPES = {"clicks_V": "int64", "in_batches_V": "bool", "in_evaluation_V": "bool"}
_AGAIN = "Pack again with jobs.pack"


def use_file(name: str) -> str:
    """The path of one array below the packed directory."""
    return f"{ITEM_USE_FOLDER}/{name}.npy"


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemUse:
    """One number per item row, the pad included, which nothing holds."""

    clicks_V: NDArray[np.int64]
    """clicks in the training trajectories; every variant holds the same clicks, and they count once"""
    in_batches_V: NDArray[np.bool_]
    """whether a batch of any variant holds the item, as a click or as a candidate"""
    in_evaluation_V: NDArray[np.bool_]
    """whether an evaluation impression holds the item, in its history or among its shown news"""

    def __post_init__(self) -> None:
        for name, array in self.arrays().items():
            if array.ndim != 1 or array.dtype != np.dtype(DTYPES[name]):
                raise ContractError(
                    f"item use: {name} is {array.dtype} of {array.ndim} axes, not {DTYPES[name]} of one. {_AGAIN}"
                )
        for says, holds in self._rules():
            if not holds:
                raise ContractError(f"item use: {says}. {_AGAIN}")

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """Name to array, for writing."""
        return {name: getattr(self, name) for name in DTYPES}

    def _rules(self) -> Iterator[tuple[str, bool]]:
        """(fault, whether the rule holds) of each rule; later rules rely on earlier ones."""
        lengths = {len(array) for array in self.arrays().values()}
        yield "its arrays are empty, or differ in length", len(lengths) == 1 and 0 not in lengths
        yield "the pad is used", not any(array[PAD_ROW] for array in self.arrays().values())
        yield "clicks_V is negative", int(self.clicks_V.min()) >= 0
        yield "clicks_V has clicks on an item that no batch holds", not self.clicks_V[~self.in_batches_V].any()


def item_use_fault(sizes: Mapping[str, tuple[int, int]], *, rows: int) -> str | None:
    """The fault in the listed files' (rows, bytes) by path, for a token table of `rows`; None where there is none."""
    paths = {use_file(name): np.dtype(kind).itemsize for name, kind in DTYPES.items()}
    listed = [path for path in paths if path in sizes]
    if listed and (lacking := sorted(paths.keys() - sizes.keys())):
        return f"files lists {listed[0]}, and no {lacking[0]}"
    for path in listed:
        found, size = sizes[path]
        if found != rows or size < rows * paths[path]:
            return f"{path} has {found} rows in {size} bytes, and the token table {rows} rows"
    return None
