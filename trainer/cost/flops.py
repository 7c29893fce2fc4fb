"""Counts the FLOPs of the encoder's layers and a device's peak FLOPs per second: the two parts of MFU.

Forward, per real or padded token that sees K keys: 2 W + 4 H K per layer, where W is the number of weights in the
layer's matrices, 4 H^2 + 2 H F in a BERT-shaped one of width H and inner width F. Backward costs twice as much.
Embeddings, norms, softmax and a bus's few keys are not counted; nor is it subtracted that the lowest trained layer owes
no gradient to stored input, a twelfth of one layer's work.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from trainer.cost.memory import synchronize
from trainer.cost.precision import multiplies_bfloat16

# Dense bfloat16 FLOPs of tensor cores, per second, as stated by the vendor.
PEAKS = {"H100": 989e12, "H200": 989e12, "A100": 312e12}


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerShape:
    """A stack of layers: `width` H, number of `layers`, `weights` = numbers in the matrices of all layers."""

    width: int
    layers: int
    weights: int

    @classmethod
    def bert(cls, *, width: int, inner: int, layers: int) -> LayerShape:
        """BERT-shaped layers: four matrices of attention, two of the inner layer."""
        return cls(width=width, layers=layers, weights=layers * (4 * width**2 + 2 * width * inner))


def forward_flops(shape: LayerShape, *, tokens: int, pairs: int) -> int:
    """FLOPs of one forward pass over `tokens` tokens; `pairs` = sum over tokens of the keys that each sees."""
    return 2 * shape.weights * tokens + 4 * shape.width * shape.layers * pairs


def layer_flops(shape: LayerShape, lengths: NDArray[np.integer[Any]]) -> int:
    """FLOPs of forward and backward over segments of these lengths; each token sees its own segment's keys."""
    own = lengths.astype(np.int64)
    return 3 * forward_flops(shape, tokens=int(own.sum()), pairs=int((own**2).sum()))


def device_name(device: torch.device) -> str:
    """The device's own name."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


@cache
def peak_flops(device: torch.device, *, bfloat16: bool) -> float:
    """The vendor's figure for a known device, else the best of five large matrix products, measured once.

    Draws nothing from torch's generators, so that a run takes the same steps with and without MFU.
    """
    for name, peak in PEAKS.items():
        if bfloat16 and name in device_name(device):
            return peak
    side = 4096 if device.type == "cuda" else 1024
    if bfloat16 and not multiplies_bfloat16(device):
        side //= 4  # emulated, the larger ones would take half a minute
    dtype = torch.bfloat16 if bfloat16 else torch.float32
    left = torch.randn(side, side, generator=torch.Generator().manual_seed(0)).to(device, dtype)
    seconds = [seconds_of(lambda: left @ left, device) for _ in range(6)]
    return 2 * side**3 / min(seconds[1:])


def seconds_of(work: Callable[[], object], device: torch.device) -> float:
    """Wall time until the device has finished the work."""
    synchronize(device)
    began = time.perf_counter()
    work()
    synchronize(device)
    return time.perf_counter() - began


Moment = float | torch.cuda.Event


def moment(device: torch.device) -> Moment:
    """Now; on a GPU, when it has done what it was given: the host, which reads nothing from it, may be far ahead."""
    if device.type != "cuda":
        return time.perf_counter()
    event = torch.cuda.Event(enable_timing=True)
    event.record()
    return event


def seconds_between(before: Moment, after: Moment) -> float:
    """Seconds from one moment to another of the same device, which has passed both."""
    if isinstance(before, torch.cuda.Event):
        return float(before.elapsed_time(after)) / 1e3
    assert isinstance(after, float), "of the same device"
    return after - before
