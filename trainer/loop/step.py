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
    reached, bad_losses, _ = extra = optimiser.gradients.extra
    _fill(extra, bool(plan.backward), loss, stop)
    optimiser.begin_sums()  # over ranks
    table.backward_encoder(placed, count)  # and goes through the encoder once, now or with a later step's
    optimiser.finish_sums(update_encoder=plan.update_encoder)
    averaged = optimiser.average(count, update_encoder=plan.update_encoder)
    finite = watch.observe(plan.step, loss, [*averaged.norms.values()], bad_losses)
    table.stage(placed, count, finite)
    optimiser.step(averaged, finite, update_encoder=plan.update_encoder, reached=reached)
    table.commit()  # only now do the new vectors become the table's
    return loss.detach()


@torch.no_grad()
def _fill(extra: Tensor, reached: bool, loss: Tensor, stop: bool) -> None:
    """This rank's share of (EXTRA,) the numbers of ranks that back-propagate to the encoder, whose loss is not finite,
    and that ask to stop."""
    extra[0].fill_(float(reached))
    extra[1].copy_(~torch.isfinite(loss))
    extra[2].fill_(float(stop))


def trained_parameters(encoder: TextEncoder, head: nn.Module) -> Parameters:
    """Every parameter that is not frozen: language model, pooling and projection, task head."""
    plm = [p for p in encoder.split.parameters() if p.requires_grad]
    of_plm = {id(p) for p in plm}
    pooling = [p for p in encoder.parameters() if p.requires_grad and id(p) not in of_plm]
    return Parameters(plm=plm, pooling=pooling, head=[p for p in head.parameters() if p.requires_grad])
