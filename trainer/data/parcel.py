"""Parcel: the arrays of one step in one buffer, so that a single asynchronous copy takes them all to a GPU."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Name = TypeVar("Name", bound=Hashable)

_ALIGNED = 16  # bytes: every array begins at a multiple of it


class _Place(NamedTuple):
    start: int
    end: int
    dtype: torch.dtype
    shape: tuple[int, ...]


class Parcel(Generic[Name]):
    """Arrays by name. `pinned`: they are copied to one page-locked buffer, from which a GPU copies without waiting."""

    def __init__(self, arrays: Mapping[Name, NDArray[Any]], *, pinned: bool = False) -> None:
        self._tensors = {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}
        self._buffer: Tensor | None = None
        self._places: dict[Name, _Place] = {}
        if pinned:
            self._join()

    def _join(self) -> None:
        start = 0
        for name, tensor in self._tensors.items():
            self._places[name] = _Place(start, start + tensor.nbytes, tensor.dtype, tuple(tensor.shape))
            start += -(-tensor.nbytes // _ALIGNED) * _ALIGNED
        self._buffer = torch.empty(start, dtype=torch.uint8, pin_memory=torch.cuda.is_available())
        for name, tensor in self._tensors.items():
            self._cut(self._buffer, name).copy_(tensor)
        self._tensors = {}

    def _cut(self, buffer: Tensor, name: Name) -> Tensor:
        place = self._places[name]
        return buffer[place.start : place.end].view(place.dtype).view(place.shape)

    def to(self, device: torch.device) -> dict[Name, Tensor]:
        """The arrays as tensors on the device; on a CPU they share the arrays' memory."""
        if self._buffer is None:
            return {name: tensor.to(device) for name, tensor in self._tensors.items()}
        there = self._buffer.to(device, non_blocking=True)
        return {name: self._cut(there, name) for name in self._places}
