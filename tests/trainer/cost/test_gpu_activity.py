"""gpu_activity counts kernels, copies and waits of a profile, and the time in which any of them ran."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch.profiler import DeviceType

from trainer.cost.gpu_activity import GpuActivity, activity_of, gpu_activity, union_length


@dataclass
class Event:
    """An event as torch._C._autograd._KinetoEvent shows it."""

    text: str
    start: int
    end: int
    where: DeviceType = DeviceType.CUDA
    annotation: bool = False

    def __post_init__(self) -> None:
        self.name: Callable[[], str] = lambda: self.text
        self.start_ns: Callable[[], int] = lambda: self.start
        self.end_ns: Callable[[], int] = lambda: self.end
        self.device_type: Callable[[], DeviceType] = lambda: self.where
        self.is_user_annotation: Callable[[], bool] = lambda: self.annotation


def test_kernels_copies_and_waits_are_counted_and_overlaps_count_once() -> None:
    host = DeviceType.CPU
    events = [
        Event("gemm", 100, 200),
        Event("softmax", 150, 250),  # on another stream
        Event("Memcpy HtoD (Pinned -> Device)", 300, 310),
        Event("Memset (Device)", 305, 307),
        Event("Optimizer.step", 90, 900, annotation=True),
        Event("cudaLaunchKernel", 80, 81, host),
        Event("cudaStreamSynchronize", 82, 99, host),
        Event("cudaDeviceSynchronize", 320, 330, host),
        Event("gemm", 50, 60),
    ]
    assert activity_of(events) == GpuActivity(kernels=3, copies=2, waits=1, busy_seconds=170e-9)


def test_the_union_of_random_intervals_is_what_their_points_cover() -> None:
    rng = np.random.default_rng(3)
    for _ in range(20):
        start_N = rng.integers(0, 200, 15)
        span_N2 = np.stack([start_N, start_N + rng.integers(0, 30, 15)], axis=1)
        covered = {point for start, end in span_N2.tolist() for point in range(start, end)}
        assert union_length(span_N2) == len(covered)
    assert union_length(np.zeros((0, 2), np.int64)) == 0


def test_a_cpu_has_no_kernels_but_the_work_is_done() -> None:
    done: list[int] = []
    assert gpu_activity(lambda: done.append(1), torch.device("cpu")) is None
    assert done == [1]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_a_gpu_shows_its_kernels_and_a_read_on_the_host_as_a_wait() -> None:
    device = torch.device("cuda")
    left = torch.randn(64, 64, device=device)
    gpu_activity(lambda: (left @ left).sum().item(), device)  # the first time, libraries start
    without = gpu_activity(lambda: left @ left, device)
    read = gpu_activity(lambda: (left @ left).sum().item(), device)
    assert without is not None
    assert read is not None
    assert (without.kernels >= 1, read.waits - without.waits) == (True, 1)
    assert read.kernels > without.kernels
    assert 0 < without.busy_seconds < read.busy_seconds
