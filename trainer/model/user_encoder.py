"""Encodes clicks in order to one user state per target, all targets of a trajectory in one pass."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from schemas.errors import InputError
from trainer.model.attention_pool import AdditiveAttention, masked_softmax


@dataclass(frozen=True, slots=True, kw_only=True)
class UserEncoderConfig:
    """The user model."""

    model: Literal["autoregressive", "nrms"] = "autoregressive"
    """autoregressive: attention over the clicks (SpeedyFeed); nrms: clicks first attend to earlier ones (NRMS)."""
    attention_width: int = 128
    """Hidden width of the attention over clicks."""
    heads: int = 8
    """nrms: heads of the self-attention among clicks; they share the vector's width."""

    def __post_init__(self) -> None:
        for name, most in (("attention_width", 1 << 14), ("heads", 1 << 10)):
            if not 1 <= getattr(self, name) <= most:
                raise ValueError(f"user.{name} is {getattr(self, name)}: use 1 to {most}")


class UserEncoder(nn.Module):
    """Additive attention over a learnt start vector and the clicks that a target may see (SpeedyFeed, section 4.4).

    Target p sees the start vector and the first prefix[p] clicks: those of earlier impressions, so clicks of one
    impression never see each other. One pass gives exactly the states that one sample per target gives.
    """

    def __init__(self, config: UserEncoderConfig, *, vector_width: int) -> None:
        super().__init__()
        self.start_D = nn.Parameter(torch.zeros(vector_width))
        self.among = ClickAttention(vector_width, config.heads) if config.model == "nrms" else None
        self.attention = AdditiveAttention(vector_width, config.attention_width)

    def forward(self, click_BLD: Tensor, click_mask_BL: Tensor, earlier_BL: Tensor, prefix_BP: Tensor) -> Tensor:
        """User states (B, P, D). `earlier_BL`: how many of the first clicks each click sees, besides itself."""
        users, clicks, width = click_BLD.shape
        key_BLD = torch.cat([self.start_D.expand(users, 1, width), click_BLD], dim=1)
        if self.among is not None:
            key_BLD = self.among(key_BLD, torch.cat([earlier_BL.new_zeros(users, 1), earlier_BL], dim=1))
        place_L = torch.arange(clicks + 1, device=click_BLD.device)
        real_BL = torch.cat([click_mask_BL.new_ones(users, 1), click_mask_BL], dim=1)
        visible_BPL = (place_L <= prefix_BP[:, :, None]) & real_BL[:, None, :]
        weight_BPL = masked_softmax(self.attention.logits(key_BLD)[:, None, :], visible_BPL)
        return weight_BPL @ key_BLD


class ClickAttention(nn.Module):
    """Multi-head self-attention in which a click sees the start vector, clicks of earlier impressions, and itself
    (NRMS, Wu et al. 2019, section 2.2, made causal). It adds to the clicks, and starts by adding nothing."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        if width % heads:
            raise InputError(f"user.heads is {heads}, which does not divide encoder.vector_width {width}")
        self.heads = heads
        self.project = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, key_BLD: Tensor, earlier_BL: Tensor) -> Tensor:
        """`key_BLD` (B, L, D): the start vector, then clicks; `earlier_BL`: how many of the clicks each one sees."""
        place_L = torch.arange(key_BLD.shape[1], device=key_BLD.device)
        visible_BLL = (place_L <= earlier_BL[:, :, None]) | (place_L == place_L[:, None])
        query, key, value = self.project(key_BLD).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = scaled_dot_product_attention(query, key, value, attn_mask=visible_BLL[:, None])
        added_BLD: Tensor = self.out(mixed.transpose(1, 2).flatten(2))
        return key_BLD + added_BLD
