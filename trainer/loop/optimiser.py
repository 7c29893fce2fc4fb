"""Optimiser: AdamW for language model and rest, with one schedule; gradients are sums and divided here, once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimiserConfig:
    """Learning rates and schedule."""

    encoder_learning_rate: float = 8e-6
    """Peak rate of the language model's layers."""
    learning_rate: float = 1e-4
    """Peak rate of pooling, projection and user model."""
    weight_decay: float = 0.01
    """AdamW's decoupled decay; vectors and biases are not decayed."""
    warm_up_share: float = 0.1
    """Share of all steps in which the rate rises from 0; then it falls to 0 in a line."""
    clip_norm: float = 1.0
    """Largest gradient norm of each group, after the division by the count."""

    def __post_init__(self) -> None:
        if min(self.encoder_learning_rate, self.learning_rate) < 0:
            raise ValueError("optimiser.learning_rate and optimiser.encoder_learning_rate must be 0 or more")
        if self.weight_decay < 0:
            raise ValueError(f"optimiser.weight_decay is {self.weight_decay}: use 0 or more")
        if not 0 <= self.warm_up_share < 1:
            raise ValueError(f"optimiser.warm_up_share is {self.warm_up_share}: use 0 up to 1")
        if self.clip_norm <= 0:
            raise ValueError(f"optimiser.clip_norm is {self.clip_norm}: use a positive norm")


class Optimiser:
    """Two AdamW optimisers, since the encoder's may rest while the other steps."""

    def __init__(
        self, config: OptimiserConfig, *, plm: Sequence[nn.Parameter], rest: Sequence[nn.Parameter], steps: int
    ) -> None:
        """`plm`: the language model's parameters; `rest`: all others. `steps` = length of the schedule."""
        self._config = config
        self._steps = steps
        self.taken = 0
        self._groups = {"plm": list(plm), "rest": list(rest)}
        rates = {"plm": config.encoder_learning_rate, "rest": config.learning_rate}
        self._optimisers = {
            name: torch.optim.AdamW(_decay_groups(group, config.weight_decay), lr=rates[name], fused=_can_fuse(group))
            for name, group in self._groups.items()
            if group
        }
        self._rates = rates

    def zero_grad(self) -> None:
        """Forget the gradients of the step before."""
        for optimiser in self._optimisers.values():
            optimiser.zero_grad(set_to_none=True)

    def step(self, count: float, *, update_encoder: bool) -> None:
        """Divide by the count, clip each group, update. A count of 0 updates nothing; the schedule goes on."""
        factor = schedule(self.taken, self._steps, self._config.warm_up_share)
        self.taken += 1
        if count <= 0:
            return
        for name, optimiser in self._optimisers.items():
            if name == "plm" and not update_encoder:
                continue
            gradients = [p.grad for p in self._groups[name] if p.grad is not None]
            torch._foreach_div_(gradients, count)
            torch.nn.utils.clip_grad_norm_(self._groups[name], self._config.clip_norm)
            for group in optimiser.param_groups:
                group["lr"] = self._rates[name] * factor
            optimiser.step()

    def state_dict(self) -> dict[str, Any]:
        """Moments and steps taken."""
        return {"taken": self.taken, **{name: o.state_dict() for name, o in self._optimisers.items()}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state`."""
        self.taken = state["taken"]
        for name, optimiser in self._optimisers.items():
            optimiser.load_state_dict(state[name])


def schedule(step: int, steps: int, warm_up_share: float) -> float:
    """Factor on the peak rate: up in a line over the warm-up, down in a line to the end."""
    warm_up = max(1, round(warm_up_share * steps))
    if step < warm_up:
        return (step + 1) / warm_up
    return max(0.0, (steps - step) / max(1, steps - warm_up))


def _decay_groups(parameters: Sequence[nn.Parameter], weight_decay: float) -> list[dict[str, Any]]:
    return [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]


def _can_fuse(parameters: Sequence[nn.Parameter]) -> bool:
    return all(p.is_floating_point() and p.device.type in {"cpu", "cuda"} for p in parameters)
