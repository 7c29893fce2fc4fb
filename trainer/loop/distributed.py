"""Distributed: one all-reduce of sums per step; with one process, nothing changes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import distributed as dist
from torch import nn


def summed_over_ranks(parameters: Sequence[nn.Parameter], *numbers: float) -> list[float]:
    """Sum the parameters' gradients, in place, and `numbers` over all ranks, in one all-reduce.

    Never below float32. A rank without a gradient adds zeros, so that ranks may hold unequal or no data.
    """
    if not (dist.is_available() and dist.is_initialized()):
        return list(numbers)
    gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
    appended = torch.tensor(numbers, dtype=torch.float64)
    dtype = torch.promote_types(gradients[0].dtype, torch.float32) if gradients else torch.float32
    device = gradients[0].device if gradients else appended.device
    flat = torch.cat([*(g.flatten().to(dtype) for g in gradients), appended.to(device, dtype)])
    dist.all_reduce(flat)
    *sums, told = flat.split([*(g.numel() for g in gradients), len(numbers)])
    for parameter, total in zip(parameters, sums, strict=True):
        parameter.grad = total.view_as(parameter).to(parameter.dtype)
    return [float(number) for number in told]
