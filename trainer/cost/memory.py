"""Device memory: measures the allocator's peak on CPU and GPU, and reports full memory as one error."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
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


def fits(size: int, device: torch.device, *, reserved: int = 0) -> bool:
    """Whether `size` bytes take at most half of the device's memory that is free once `reserved` more bytes, of what a
    run holds there between its steps, are taken; the other half is for the steps. Always so on a CPU."""
    if device.type != "cuda":
        return True
    cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return size <= (torch.cuda.mem_get_info(device)[0] + cached - reserved) // 2


def bytes_between_steps(model: nn.Module, *, vectors: int, half: bool, waits: bool) -> int:
    """Device bytes that training holds between steps, apart from inputs: weights, with gradient and two moments where
    they are trained, and a bfloat16 copy if `half`; `vectors` numbers of the vector table, twice if gradients wait."""
    weights = sum(p.nbytes * (4 if p.requires_grad else 1) for p in model.parameters())
    copy = sum(2 * p.numel() for p in model.parameters()) if half else 0
    return weights + copy + 4 * vectors * (2 if waits else 1)


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
