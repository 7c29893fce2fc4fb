"""Memory of the device: its peak by what the allocator gave out, on a CPU and on a GPU alike; when it is full."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch.autograd.profiler import profile

from schemas.errors import InputError


class OutOfMemoryError(InputError):
    """The device's memory does not suffice for a step as it is configured."""


@contextmanager
def reporting_full_memory(what: str, advice: str) -> Iterator[None]:
    """Inside, a memory that does not suffice becomes one message: what for, and what helps."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        reason = str(error).partition("\n")[0].rstrip(".")
        raise OutOfMemoryError(f"{what}: {reason}. {advice}") from error


def fits(size: int, device: torch.device) -> bool:
    """Whether so many bytes may lie on the device and leave it three quarters of what is free now."""
    return device.type != "cuda" or size <= torch.cuda.mem_get_info(device)[0] // 4


def free_cached(device: torch.device) -> None:
    """Give back what the allocator holds and nobody uses."""
    if device.type == "cuda":
        torch.cuda.empty_cache()


def synchronize(device: torch.device) -> None:
    """Wait until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@contextmanager
def peak_memory(device: torch.device) -> Iterator[list[int]]:
    """The most bytes that the allocator had given out while this was open, above what it had at the start."""
    found = [0]
    if device.type == "cuda":
        synchronize(device)
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        yield found
        found[0] = torch.cuda.max_memory_allocated() - before
        return
    with profile(profile_memory=True) as profiler:  # not torch.profiler's: that one makes a tree of all operators
        yield found
    events = [event for event in profiler.kineto_results.events() if event.name() == "[memory]"]
    events.sort(key=lambda event: event.start_ns())
    found[0] = max(itertools.accumulate((event.nbytes() for event in events), initial=0))
