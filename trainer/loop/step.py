"""One optimisation step, top to bottom: encode, look up, score, backward, send gradients home, update, write back."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from schemas.errors import InputError
from trainer.data.tensors import StepTensors
from trainer.encode.planner import Plan
from trainer.encode.vector_table import VectorTable
from trainer.loop.optimiser import Optimiser

Head = Callable[[Tensor, StepTensors], Tensor]  # leaf (N, D), batch -> loss summed over targets


class NonFiniteLossError(InputError):
    """The loss of a step is not finite; nothing of the step has been kept."""


def train_step(
    plan: Plan, batch: StepTensors, count: float, *, table: VectorTable, head: Head, optimiser: Optimiser
) -> Tensor:
    """Take one step and return the loss sum (detached). `count` = sum of target weights over all ranks.

    The step is atomic: NonFiniteLossError leaves weights, optimiser and table as they were.
    """
    optimiser.zero_grad()
    table.refresh(plan)  # encode what the plan says, stage the vectors
    leaf_ND = table.read(plan)  # fresh vectors and looked-up ones, side by side
    loss = head(leaf_ND, batch)
    if not torch.isfinite(loss):
        raise NonFiniteLossError(
            f"step {plan.step}: the loss is {float(loss.detach())}. Lower the learning rate or look at the batch"
        )
    if loss.requires_grad:
        loss.backward()  # ends at the leaf: each item's gradient is summed there
    table.settle(plan)  # and goes through the encoder once
    optimiser.step(count, update_encoder=plan.update_encoder and bool(plan.backward))
    table.commit(plan)  # only now do the new vectors become the table's
    return loss.detach()


def parameters_of(*modules: nn.Module) -> list[nn.Parameter]:
    """Every trained parameter of the modules, in order."""
    return [p for module in modules for p in module.parameters() if p.requires_grad]
