"""Ranks news: scores candidates by user states and sums the loss. The loop and encode/ do not depend on the task."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding

from trainer.data.tensors import StepTensors
from trainer.model.user_encoder import UserEncoder, UserEncoderConfig


class RankingHead(nn.Module):
    """User encoder and dot-product scores over a leaf of item vectors."""

    def __init__(self, config: UserEncoderConfig, *, vector_width: int) -> None:
        super().__init__()
        self.user = UserEncoder(config, vector_width=vector_width)

    def scores(self, item_ND: Tensor, batch: StepTensors) -> Tensor:
        """Scores (B, P, K); -inf where there is no candidate, except in padded targets: no softmax is empty."""
        # embedding, not item_ND[slot]: on a CPU the latter's backward adds with atomics, in no fixed order.
        click_BLD, target_BPKD = (embedding(slot, item_ND) for slot in (batch.click_slot_BL, batch.target_slot_BPK))
        user_BPD = self.user(click_BLD, batch.click_mask_BL, batch.earlier_BL, batch.prefix_BP)
        score_BPK = torch.einsum("bpd,bpkd->bpk", user_BPD, target_BPKD)
        hidden_BPK = ~batch.target_mask_BPK & (batch.weight_BP > 0)[:, :, None]
        return score_BPK.masked_fill(hidden_BPK, float("-inf"))

    def forward(self, item_ND: Tensor, batch: StepTensors) -> Tensor:
        """Weighted **sum** of the targets' cross-entropies: the count divides once, after all ranks are summed."""
        log_BPK = torch.log_softmax(self.scores(item_ND, batch), dim=-1)
        return -(log_BPK[..., 0] * batch.weight_BP).sum()
