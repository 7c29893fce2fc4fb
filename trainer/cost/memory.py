"""Device memory: measures the allocator's peak on CPU and GPU, and reports full memory as one error."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch.autograd.profiler import profile

from schemas.errors import InputError


class OutOfMemoryError(InputError):
    """The device's memory does not suffice for a step as configured."""


@contextmanager
def reporting_full_memory(what: str, advice: str) -> Iterator[None]:
    """Turns insufficient memory into one error: `what` needed it, and `advice`."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        reason = str(error).partition("\n")[0].rstrip(".")
        raise OutOfMemoryError(f"{what}: {reason}. {advice}") from error


def fits(size: int, device: torch.device) -> bool:
    """Whether `size` bytes take at most a quarter of the device's free memory."""
    return device.type != "cuda" or size <= torch.cuda.mem_get_info(device)[0] // 4


def free_cached(device: torch.device) -> None:
    """Release the allocator's unused memory."""
    if device.type == "cuda":
        torch.cuda.empty_cache()


def synchronize(device: torch.device) -> None:
    """Wait until the device has finished all its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@contextmanager
def peak_memory(device: torch.device) -> Iterator[list[int]]:
    """The allocator's peak in bytes inside, above its level at the start; read it from the list afterwards."""
    found = [0]
    if device.type == "cuda":
        synchronize(device)
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        yield found
        found[0] = torch.cuda.max_memory_allocated() - before
        return
    with profile(profile_memory=True) as profiler:  # torch.profiler's would build a tree of all operators
        yield found
    events = [event for event in profiler.kineto_results.events() if event.name() == "[memory]"]
    events.sort(key=lambda event: event.start_ns())
    found[0] = max(itertools.accumulate((event.nbytes() for event in events), initial=0))
