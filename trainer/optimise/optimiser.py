"""Optimiser: AdamW for encoder and head, with one schedule; divides the summed gradients once."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from schemas.errors import InputError
from trainer.optimise.schedule import Schedule


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimiserConfig:
    """Learning rates and schedule."""

    encoder_learning_rate: float = 8e-6
    """Peak rate of the language model's layers."""
    learning_rate: float = 1e-4
    """Peak rate of the task head, and of pooling and projection."""
    pooling_learning_rate: float | None = None
    """Peak rate of pooling and projection, if it differs from the head's."""
    weight_decay: float = 0.01
    """AdamW's decoupled decay; vectors and biases are not decayed."""
    warm_up_share: float = 0.1
    """Share of all steps in which the rate rises from 0; then it falls linearly to 0."""
    clip_norm: float = 1.0
    """Largest gradient norm, for the encoder and the head separately, after the division by the count."""

    def __post_init__(self) -> None:
        rates = (self.encoder_learning_rate, self.learning_rate, self.pooling_learning_rate or 0.0)
        if not all(0 <= rate < math.inf for rate in rates):
            raise ValueError("optimiser's learning rates must be 0 or more")
        if not 0 <= self.weight_decay < math.inf:
            raise ValueError(f"optimiser.weight_decay is {self.weight_decay}: use 0 or more")
        if not 0 <= self.warm_up_share < 1:
            raise ValueError(f"optimiser.warm_up_share is {self.warm_up_share}: use 0 up to 1")
        if not 0 < self.clip_norm < math.inf:
            raise ValueError(f"optimiser.clip_norm is {self.clip_norm}: use a positive norm")


class NonFiniteError(InputError):
    """A loss or a gradient is not finite; its step has changed nothing."""


class Parameters(NamedTuple):
    """The trained parameters: the language model's layers, pooling and projection, and the task head."""

    plm: Sequence[nn.Parameter]
    pooling: Sequence[nn.Parameter]
    head: Sequence[nn.Parameter]


_Part = Literal["encoder", "head"]


class Update(NamedTuple):
    """One step's factor on the peak rates, and the gradient norms, before clipping, of the parts that it updated."""

    rate_factor: float
    norms: Mapping[str, Tensor]


class Optimiser:
    """Two AdamW optimisers, since the encoder's may skip steps that the head's takes."""

    def __init__(
        self, config: OptimiserConfig, parameters: Parameters, *, steps: int, encoder_factor: float = 1.0
    ) -> None:
        """`steps` = length of the schedule; `encoder_factor` multiplies the rates of language model and pooling."""
        self._config = config
        self.schedule = Schedule.of([(0, steps)], config.warm_up_share)
        self.taken = 0
        self.intact = True  # no update was interrupted
        self.last: Update | None = None
        self._waiting_count = 0.0  # of the steps whose gradients the encoder's next update divides
        rate, decay = config.learning_rate, config.weight_decay
        pooling_rate = rate if config.pooling_learning_rate is None else config.pooling_learning_rate
        groups = {
            "encoder": [
                *_decay_groups(parameters.plm, config.encoder_learning_rate * encoder_factor, decay),
                *_decay_groups(parameters.pooling, pooling_rate * encoder_factor, decay),
            ],
            "head": _decay_groups(parameters.head, rate, decay),
        }
        self._parameters = {name: [p for group in parts for p in group["params"]] for name, parts in groups.items()}
        self._optimisers = {
            name: torch.optim.AdamW(parts, fused=_can_fuse(self._parameters[name]))
            for name, parts in groups.items()
            if parts
        }

    def zero_grad(self) -> None:
        """Drop the gradients of the step before."""
        for optimiser in self._optimisers.values():
            optimiser.zero_grad(set_to_none=True)

    def due(self, *, update_encoder: bool) -> list[nn.Parameter]:
        """The parameters that the next step updates, in one order on every rank."""
        return [*(self._parameters["encoder"] if update_encoder else ()), *self._parameters["head"]]

    def step(self, count: float, *, update_encoder: bool, back_propagated: bool) -> None:
        """Divide by the count, clip, update. The encoder's gradients are divided by the counts since its last update.

        A count of 0 updates nothing, nor does an encoder without back-propagated gradients; the schedule advances.
        NonFiniteError, before anything is updated, if a gradient is not finite.
        """
        factor = self.schedule.factor(self.taken)
        waiting = self._waiting_count + count
        counts: dict[_Part, float] = {"head": count}
        if update_encoder and back_propagated:
            counts["encoder"] = waiting
        due = {part: of for part, of in counts.items() if of > 0 and part in self._optimisers}
        norms = [self._divided(part, of) for part, of in due.items()]
        if norms and not torch.isfinite(torch.stack(norms)).all():
            raise NonFiniteError("a gradient is not finite.")
        self.intact = False
        for part in due:
            self._update(part, factor)
        self.intact = True
        self.last = Update(factor, dict(zip(due, norms, strict=True)))
        self.taken += 1
        self._waiting_count = 0.0 if update_encoder else waiting

    def _divided(self, part: _Part, count: float) -> Tensor:
        """Divide the part's gradients by the count and clip them; returns their norm before clipping."""
        torch._foreach_div_([p.grad for p in self._parameters[part] if p.grad is not None], count)
        return torch.nn.utils.clip_grad_norm_(self._parameters[part], self._config.clip_norm)

    def _update(self, part: _Part, factor: float) -> None:
        for group in self._optimisers[part].param_groups:
            group["lr"] = group["peak_rate"] * factor
        self._optimisers[part].step()

    def extend(self, steps: int) -> None:
        """From the next step on, the run has `steps` steps in total."""
        self.schedule = self.schedule.extended(self.taken, steps)

    def state_dict(self) -> dict[str, Any]:
        """Moments, steps taken, the count that waits for the encoder's next update, and the schedule so far."""
        groups = {name: optimiser.state_dict() for name, optimiser in self._optimisers.items()}
        counts = {"taken": self.taken, "waiting_count": self._waiting_count}
        return {**counts, "groups": groups, "stretches": [list(stretch) for stretch in self.schedule.stretches]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Resume from `state`: its moments and schedule, at this config's rates. ValueError if they belong to other
        parameters."""
        self.taken, self._waiting_count = int(state["taken"]), float(state["waiting_count"])
        self.schedule = Schedule.of(state["stretches"], self._config.warm_up_share)
        self.load_moments(state["groups"])

    def load_moments(self, groups: Mapping[str, Any]) -> None:
        """Take over the moments of `state_dict()["groups"]`, and nothing else. ValueError as in load_state_dict."""
        for name, optimiser in self._optimisers.items():
            moments, own = groups[name]["state"], optimiser.state_dict()["param_groups"]
            for index, found in moments.items():
                _check_moments(found, self._parameters[name][index], f"{name}/{index}")
            optimiser.load_state_dict({"state": moments, "param_groups": own})


def _check_moments(found: Mapping[str, Tensor], parameter: nn.Parameter, where: str) -> None:
    fits = found.keys() == {"step", "exp_avg", "exp_avg_sq"} and found["step"].numel() == 1
    if not fits or not found["exp_avg"].shape == found["exp_avg_sq"].shape == parameter.shape:
        shapes = {name: tuple(tensor.shape) for name, tensor in found.items()}
        raise ValueError(f"optimiser {where} is {shapes}, for a parameter of {tuple(parameter.shape)}")


def _decay_groups(parameters: Sequence[nn.Parameter], rate: float, weight_decay: float) -> list[dict[str, Any]]:
    """Parameter groups: matrices decay, vectors and biases do not; empty groups are left out."""
    matrices, others = [p for p in parameters if p.ndim >= 2], [p for p in parameters if p.ndim < 2]
    return [
        {"params": group, "lr": rate, "peak_rate": rate, "weight_decay": decay}
        for group, decay in ((matrices, weight_decay), (others, 0.0))
        if group
    ]


def _can_fuse(parameters: Sequence[nn.Parameter]) -> bool:
    return all(p.is_floating_point() and p.device.type in {"cpu", "cuda"} for p in parameters)


def flat_optimiser(state: Mapping[str, Any]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """An Optimiser's state as (tensors by 'group/parameter/moment', JSON)."""
    tensors = {
        f"{name}/{index}/{moment}": torch.as_tensor(value)
        for name, inner in state["groups"].items()
        for index, moments in inner["state"].items()
        for moment, value in moments.items()
    }
    return tensors, {**state, "groups": {name: inner["param_groups"] for name, inner in state["groups"].items()}}


def nested_optimiser(tensors: Mapping[str, Tensor], plain: Mapping[str, Any]) -> dict[str, Any]:
    """The inverse of flat_optimiser."""
    state: dict[str, dict[int, dict[str, Tensor]]] = {name: {} for name in plain["groups"]}
    for key, tensor in tensors.items():
        name, index, moment = key.split("/")
        state[name].setdefault(int(index), {})[moment] = tensor
    groups = {name: {"param_groups": plain["groups"][name], "state": inner} for name, inner in state.items()}
    return {**plain, "groups": groups}
