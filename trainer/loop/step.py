"""One optimisation step, top to bottom: encode, look up, score, backward, collect gradients, update, write back."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from trainer.data.tensors import StepTensors
from trainer.encode.plan import Plan
from trainer.encode.vector_table import VectorTable
from trainer.model.text_encoder import TextEncoder
from trainer.optimise.optimiser import NonFiniteError, Optimiser, Parameters
from trainer.ranks.process_group import summed_over_ranks

Head = Callable[[Tensor, StepTensors], Tensor]  # leaf (N, D), batch -> loss summed over targets


def train_step(
    plan: Plan, batch: StepTensors, count: float, *, table: VectorTable, head: Head, optimiser: Optimiser
) -> Tensor:
    """Take one step and return the loss sum (detached). `count` = sum of target weights over all ranks.

    The step is atomic: NonFiniteError and insufficient memory leave weights, optimiser and table as they were, except
    where optimiser.taken has moved on or optimiser.intact is False.
    """
    optimiser.zero_grad()
    table.refresh(plan)  # encode what the plan says, stage the vectors
    leaf_ND = table.read(plan)  # fresh and looked-up vectors
    loss = head(leaf_ND, batch)
    finite = bool(torch.isfinite(loss))
    if finite and loss.requires_grad:
        loss.backward()  # ends at the leaf: each item's gradient is summed there
    table.backward_encoder(plan, count)  # and goes through the encoder once, now or with a later step's
    due = optimiser.due(update_encoder=plan.update_encoder)
    back_propagated, non_finite = summed_over_ranks(due, float(bool(plan.backward)), float(not finite))
    if non_finite:  # on one rank: all stop here
        raise NonFiniteError("another rank's loss is not finite." if finite else f"the loss is {float(loss.detach())}.")
    table.stage(plan, count)
    optimiser.step(count, update_encoder=plan.update_encoder, back_propagated=back_propagated > 0)
    table.commit()  # only now do the new vectors become the table's
    return loss.detach()


def trained_parameters(encoder: TextEncoder, head: nn.Module) -> Parameters:
    """Every parameter that is not frozen: language model, pooling and projection, task head."""
    plm = [p for p in encoder.split.parameters() if p.requires_grad]
    of_plm = {id(p) for p in plm}
    pooling = [p for p in encoder.parameters() if p.requires_grad and id(p) not in of_plm]
    return Parameters(plm=plm, pooling=pooling, head=[p for p in head.parameters() if p.requires_grad])
