"""Sharing: work on many rows cut into chunks, of which each rank computes its own, and all get the whole."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor


def _alone(tensor: Tensor) -> None:
    """One process has the whole already."""


@dataclass(frozen=True, slots=True)
class Share:
    """Which part of the work is this process's, and how the parts come together."""

    rank: int = 0
    world: int = 1
    add_up: Callable[[Tensor], None] = _alone
    """sums a tensor over all ranks, in place"""


ALL = Share()


def in_shares(total: int, size: int, compute: Callable[[slice], Tensor], share: Share) -> Tensor:
    """`compute` of chunks of `size` of the rows 0 to `total`, laid end to end: (total, ...).

    The chunks are the same for any number of ranks, and so is the result, bit for bit.
    """
    chunks = [slice(start, min(start + size, total)) for start in range(0, max(total, 1), size)]
    own = chunks[share.rank :: share.world]
    first = compute(own[0] if own else chunks[0])  # a rank without a chunk needs its shape all the same
    result = first.new_zeros(total, *first.shape[1:])
    for chunk in own:
        result[chunk] = first if chunk is own[0] else compute(chunk)
    share.add_up(result)
    return result
