"""Splits work on rows into chunks; each rank computes its own chunks, and every rank gets the full result."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor


def _alone(tensor: Tensor) -> None:
    """With one process the result is already complete."""


@dataclass(frozen=True, slots=True)
class Share:
    """This process's part of the work, and how the parts are added up."""

    rank: int = 0
    world: int = 1
    add_up: Callable[[Tensor], None] = _alone
    """sums a tensor over all ranks, in place"""


ALL = Share()


def in_shares(total: int, size: int, compute: Callable[[slice], Tensor], share: Share) -> Tensor:
    """`compute` applied to chunks of `size` of the rows 0 to `total`, concatenated: (total, ...).

    The chunks, and so the result, are the same for any number of ranks, bit for bit.
    """
    chunks = [slice(start, min(start + size, total)) for start in range(0, max(total, 1), size)]
    own = chunks[share.rank :: share.world]
    first = compute(own[0] if own else chunks[0])  # a rank without a chunk needs the shape too
    result = first.new_zeros(total, *first.shape[1:])
    for chunk in own:
        result[chunk] = first if chunk is own[0] else compute(chunk)
    share.add_up(result)
    return result
