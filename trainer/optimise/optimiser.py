"""Optimiser: AdamW for encoder and head, with one schedule; divides the summed gradients once."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from schemas.errors import InputError
from trainer.optimise.gradients import FlatGradients
from trainer.optimise.schedule import Schedule
from trainer.ranks.buckets import BucketReducer


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
    """A loss or a gradient is not finite; its step and those after it have changed nothing."""


class Parameters(NamedTuple):
    """The trained parameters: the language model's layers, pooling and projection, and the task head."""

    plm: Sequence[nn.Parameter]
    pooling: Sequence[nn.Parameter]
    head: Sequence[nn.Parameter]


EXTRA = 3  # numbers that a step sums over ranks with its gradients


class Update(NamedTuple):
    """One step's factor on the peak rates, and the gradient norms, before clipping, of the parts that it updated."""

    rate_factor: float
    norms: Mapping[str, Tensor]


class Averaged(NamedTuple):
    """The gradient norms before clipping of the parts that are ready for an update, and the count of targets since the
    encoder's last update."""

    norms: Mapping[str, Tensor]
    waiting_count: float


class Optimiser:
    """Two AdamW optimisers, since the encoder's may skip steps that the head's takes."""

    def __init__(
        self,
        config: OptimiserConfig,
        parameters: Parameters,
        *,
        steps: int,
        encoder_factor: float = 1.0,
        unreached: Sequence[nn.Parameter] = (),
    ) -> None:
        """`steps` = length of the schedule; `encoder_factor` multiplies the rates of language model and pooling;
        `unreached`: parameters that no gradient ever reaches, which stay as they are."""
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
        never = {id(p) for p in unreached}
        # The encoder's from its output to its input, as a backward pass completes them: ranks sum the first ones first.
        order = {"head": self._parameters["head"], "encoder": [*parameters.plm, *parameters.pooling][::-1]}
        reached = {name: [p for p in part if id(p) not in never] for name, part in order.items()}
        self.gradients = FlatGradients(reached, extra=EXTRA)
        self.reducer: BucketReducer | None = None  # of the encoder's gradients, where there are several ranks
        self._optimisers: dict[str, Any] = {
            name: torch.optim.AdamW(parts, fused=True) for name, parts in groups.items() if parts
        }

    def zero_grad(self) -> None:
        """Set the gradients of the step before to 0."""
        self.gradients.zero()

    def begin_sums(self) -> None:
        """Begin to sum over ranks the EXTRA numbers and the head's gradients, before the encoder's backward pass."""
        if self.reducer is not None:
            self.reducer.send(self.gradients.up_to("head"))

    def finish_sums(self, *, update_encoder: bool) -> None:
        """Complete these sums and, where the step updates the encoder, those of its gradients."""
        if self.reducer is not None:
            self.reducer.finish(buckets=update_encoder)

    def average(self, count: float, *, update_encoder: bool) -> Averaged:
        """Divide the gradients by the count and clip them.

        The encoder's gradients are divided by the counts of all steps since its last update. A count of 0, or
        `update_encoder` = False, leaves a part out.
        """
        waiting = self._waiting_count + count
        counts: dict[str, float] = {"head": count, "encoder": waiting if update_encoder else 0.0}
        due = {part: of for part, of in counts.items() if of > 0 and part in self._optimisers}
        return Averaged({part: self._averaged(part, of) for part, of in due.items()}, waiting)

    def step(self, averaged: Averaged, finite: Tensor, *, update_encoder: bool, reached: Tensor) -> None:
        """Update the parts that `average` has prepared, where `finite` holds; the schedule advances.

        The encoder is updated only where `reached` is positive: something was back-propagated to it on a rank. Both are
        tensors on the device, so that the host does not wait.
        """
        factor = self.schedule.factor(self.taken)
        skip = {"head": ~finite, "encoder": ~finite | (reached == 0)}
        self.intact = False
        for part in averaged.norms:
            self._update(part, factor, skip[part])
        self.intact = True
        self.last = Update(factor, averaged.norms)
        self.taken += 1
        self._waiting_count = 0.0 if update_encoder else averaged.waiting_count

    def _averaged(self, part: str, count: float) -> Tensor:
        """Divides the part's gradients by the count and clips them; returns their norm before clipping."""
        flat = self.gradients.of(part).div_(count)
        norm: Tensor = torch.linalg.vector_norm(flat)
        flat.mul_((self._config.clip_norm / (norm + 1e-6)).clamp(max=1.0))
        return norm

    def _update(self, part: str, factor: float, skip: Tensor) -> None:
        optimiser = self._optimisers[part]
        for group in optimiser.param_groups:
            group["lr"] = group["peak_rate"] * factor
        optimiser.found_inf = skip.to(torch.float32)  # fused AdamW's own way to leave out a step
        optimiser.step()

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
