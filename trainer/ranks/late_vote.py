"""LateVote: reads what ranks agreed in a step once the next one is under way, so that no device waits for the host."""

from __future__ import annotations

from collections import deque

import torch
from torch import Tensor


class LateVote:
    """The outcomes of a vote in each step; the outcome of a step is read after the next one has been queued."""

    def __init__(self) -> None:
        self._cast: deque[tuple[Tensor, torch.cuda.Event | None]] = deque(maxlen=2)

    def cast(self, votes: Tensor) -> None:
        """`votes`: one number, summed over ranks, on the device."""
        if not votes.is_cuda:
            self._cast.append((votes.clone(), None))
            return
        copied = torch.empty_like(votes, device="cpu", pin_memory=True)
        copied.copy_(votes, non_blocking=True)
        event = torch.cuda.Event()
        event.record()
        self._cast.append((copied, event))

    def passed(self) -> bool:
        """Whether any rank voted for it in the step before the last one; the same on every rank."""
        if len(self._cast) < 2:
            return False
        votes, event = self._cast[0]
        if event is not None:
            event.synchronize()
        return bool(votes > 0)
