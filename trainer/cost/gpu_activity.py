"""Counts a GPU's kernels and the host's waits for it, and measures how long it is busy, from torch's profiler."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.autograd.profiler import profile
from torch.profiler import DeviceType

from trainer.cost.memory import synchronize

# CUDA's calls in which the host waits. Not cudaDeviceSynchronize: the measurement itself ends with it.
_WAITS = frozenset({"cudaStreamSynchronize", "cudaEventSynchronize", "cudaMemcpy"})
_NO_KERNEL = ("Memcpy", "Memset")


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuActivity:
    """What a GPU and its host did."""

    kernels: int
    copies: int
    """copies and fills of memory"""
    waits: int
    """calls in which the host waited for the GPU"""
    busy_seconds: float
    """in which a kernel, copy or fill ran; several at a time count once"""


def gpu_activity(work: Callable[[], object], device: torch.device) -> GpuActivity | None:
    """The activity that `work` causes; None on a CPU, where `work` runs too."""
    if device.type != "cuda":
        work()
        return None
    synchronize(device)
    with profile(use_device="cuda", use_cpu=False, use_kineto=True) as profiler:  # without operators: they cost time
        work()
        synchronize(device)
    return activity_of(profiler.kineto_results.events())


def activity_of(events: Iterable[Any]) -> GpuActivity:
    """The activity of a profile's events."""
    names: list[str] = []
    spans: list[tuple[int, int]] = []
    waits = 0
    for event in events:
        if event.device_type() == DeviceType.CUDA:
            if not event.is_user_annotation():  # repeats what it spans
                names.append(event.name())
                spans.append((event.start_ns(), event.end_ns()))
        else:
            waits += event.name() in _WAITS
    copies = sum(name.startswith(_NO_KERNEL) for name in names)
    busy = union_length(np.array(spans, np.int64).reshape(-1, 2))
    return GpuActivity(kernels=len(names) - copies, copies=copies, waits=waits, busy_seconds=busy / 1e9)


def union_length(span_N2: NDArray[np.int64]) -> int:
    """The total length of the union of intervals (start, end)."""
    if not len(span_N2):
        return 0
    start_N, end_N = span_N2[np.argsort(span_N2[:, 0])].T
    covered_N = np.maximum.accumulate(end_N)
    gap_N = np.maximum(start_N[1:] - covered_N[:-1], 0)
    return int(covered_N[-1] - start_N[0] - gap_N.sum())
