"""UserEncoder: clicks in order -> one user state for each target, all targets of a trajectory in one pass."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from trainer.model.attention_pool import AdditiveAttention, masked_softmax


@dataclass(frozen=True, slots=True, kw_only=True)
class UserEncoderConfig:
    """The user model."""

    attention_width: int = 128
    """Hidden width of the attention over clicks."""

    def __post_init__(self) -> None:
        if self.attention_width < 1:
            raise ValueError(f"user.attention_width is {self.attention_width}: use 1 or more")


class AutoregressiveUserEncoder(nn.Module):
    """Additive attention over a learnt start vector and the clicks that a target may see (SpeedyFeed, section 4.4).

    Target p sees the start vector and the first prefix[p] clicks: those of earlier impressions, so clicks of one
    impression never see each other. One pass gives exactly what one sample per target would.
    """

    def __init__(self, config: UserEncoderConfig, *, vector_width: int) -> None:
        super().__init__()
        self.start_D = nn.Parameter(torch.zeros(vector_width))
        self.attention = AdditiveAttention(vector_width, config.attention_width)

    def forward(self, click_BLD: Tensor, click_mask_BL: Tensor, prefix_BP: Tensor) -> Tensor:
        """User states (B, P, D)."""
        users, clicks, width = click_BLD.shape
        key_BLD = torch.cat([self.start_D.expand(users, 1, width), click_BLD], dim=1)
        place_L = torch.arange(clicks + 1, device=click_BLD.device)
        real_BL = torch.cat([click_mask_BL.new_ones(users, 1), click_mask_BL], dim=1)
        visible_BPL = (place_L <= prefix_BP[:, :, None]) & real_BL[:, None, :]
        weight_BPL = masked_softmax(self.attention.logits(key_BLD)[:, None, :], visible_BPL)
        return weight_BPL @ key_BLD
