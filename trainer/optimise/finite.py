"""FiniteWatch: remembers on the device the first step whose loss or gradient is not finite, so that no step waits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

_NONE = -1


class NonFinite(NamedTuple):
    """The first step whose loss or gradient was not finite, its loss, and whether another rank's loss was not."""

    step: int
    loss: float
    elsewhere: bool


class FiniteWatch:
    """From that step on nothing is updated: weights, moments and vectors stay those before it until the run reads the
    watch, at its next logging line, and ends."""

    def __init__(self, device: torch.device) -> None:
        self._step = torch.full((), _NONE, dtype=torch.int64, device=device)
        self._loss = torch.zeros((), device=device)
        self._elsewhere = torch.zeros((), dtype=torch.bool, device=device)

    @torch.no_grad()
    def observe(self, step: int, loss: Tensor, norms: Sequence[Tensor], bad_losses: Tensor) -> Tensor:
        """Whether this step and all before it are finite, as a tensor. `bad_losses`: number of ranks whose loss is
        not."""
        finite = torch.isfinite(torch.stack([loss.detach(), *norms])).all() & (bad_losses == 0)
        first = ~finite & (self._step == _NONE)
        self._step = torch.where(first, step, self._step)
        self._loss = torch.where(first, loss.detach(), self._loss)
        self._elsewhere = torch.where(first, bad_losses > 0, self._elsewhere)
        return self._step == _NONE

    def found(self) -> NonFinite | None:
        """The first step that was not finite; None if all were. Waits for the device."""
        step = int(self._step)
        return None if step == _NONE else NonFinite(step, float(self._loss), bool(self._elsewhere))

    def reset(self) -> None:
        """Forget what was found: a checkpoint is restored."""
        self._step.fill_(_NONE)
