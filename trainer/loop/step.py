"""One optimisation step, top to bottom: encode, look up, score, backward, collect gradients, update, write back."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from trainer.data.tensors import StepTensors
from trainer.encode.placed import PlacedPlan
from trainer.encode.vector_table import VectorTable
from trainer.model.text_encoder import TextEncoder
from trainer.optimise.finite import FiniteWatch
from trainer.optimise.optimiser import Optimiser, Parameters
from trainer.ranks.process_group import sum_in_place

Head = Callable[[Tensor, StepTensors], Tensor]  # leaf (N, D), batch -> loss summed over targets


def train_step(
    placed: PlacedPlan,
    batch: StepTensors,
    count: float,
    *,
    table: VectorTable,
    head: Head,
    optimiser: Optimiser,
    watch: FiniteWatch,
    stop: bool = False,
) -> Tensor:
    """Take one step and return the loss sum (detached). `count` = sum of target weights over all ranks; `stop`: this
    rank asks all to stop, which `optimiser.gradients.extra` shows on every rank afterwards.

    The host reads nothing from the device. The step is atomic: a loss or gradient that is not finite and insufficient
    memory leave weights, optimiser and table as they were, except where optimiser.taken has moved on or
    optimiser.intact is False. `watch` knows the first step that was not finite; steps after it change nothing either.
    """
    plan = placed.plan
    optimiser.zero_grad()
    table.refresh(placed)  # encode what the plan says
    leaf_ND = table.read(placed)  # fresh and looked-up vectors
    loss = head(leaf_ND, batch)
    if loss.requires_grad:
        loss.backward()  # ends at the leaf: each item's gradient is summed there
    table.backward_encoder(placed, count)  # and goes through the encoder once, now or with a later step's
    reached, bad_losses, _ = _summed(optimiser, plan.update_encoder, bool(plan.backward), loss, stop)
    averaged = optimiser.average(count, update_encoder=plan.update_encoder)
    finite = watch.observe(plan.step, loss, [*averaged.norms.values()], bad_losses)
    table.stage(placed, count, finite)
    optimiser.step(averaged, finite, update_encoder=plan.update_encoder, reached=reached)
    table.commit()  # only now do the new vectors become the table's
    return loss.detach()


@torch.no_grad()
def _summed(optimiser: Optimiser, update_encoder: bool, reached: bool, loss: Tensor, stop: bool) -> Tensor:
    """Sum over ranks, at once: the gradients that the step updates with, and (EXTRA,) the numbers of ranks that
    back-propagated to the encoder, whose loss is not finite, and that ask to stop."""
    extra = optimiser.gradients.extra
    extra[0].fill_(float(reached))
    extra[1].copy_(~torch.isfinite(loss))
    extra[2].fill_(float(stop))
    sum_in_place(optimiser.due(update_encoder=update_encoder))
    return extra


def trained_parameters(encoder: TextEncoder, head: nn.Module) -> Parameters:
    """Every parameter that is not frozen: language model, pooling and projection, task head."""
    plm = [p for p in encoder.split.parameters() if p.requires_grad]
    of_plm = {id(p) for p in plm}
    pooling = [p for p in encoder.parameters() if p.requires_grad and id(p) not in of_plm]
    return Parameters(plm=plm, pooling=pooling, head=[p for p in head.parameters() if p.requires_grad])
