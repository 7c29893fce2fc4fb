"""Pools many vectors into one: a learnt weighted mean over tokens, segments or clicks, or the last token."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class AdditiveAttention(nn.Module):
    """weight = softmax(q . tanh(W key)). Starts with q = 0, a plain mean: pretrained vectors keep their meaning."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.project = nn.Linear(width, hidden)
        self.query = nn.Linear(hidden, 1, bias=False)
        nn.init.zeros_(self.query.weight)

    def logits(self, key_LD: Tensor) -> Tensor:
        """One logit for each key: (..., L, D) -> (..., L)."""
        return torch.as_tensor(self.query(torch.tanh(self.project(key_LD))).squeeze(-1))

    def forward(self, key_LD: Tensor, mask_L: Tensor) -> Tensor:
        """Weighted mean (..., D) over the keys that `mask_L` shows. Each mask must show at least one key."""
        weight_L = masked_softmax(self.logits(key_LD), mask_L)
        return (weight_L.unsqueeze(-1) * key_LD).sum(-2)


class LastToken(nn.Module):
    """The last key that the mask shows: the only one of a decoder's tokens that has seen all of the text."""

    def forward(self, key_CTH: Tensor, mask_CT: Tensor) -> Tensor:
        """The key (C, H) of each row. The mask shows at least one key, and those it shows come first in a row."""
        last_C = mask_CT.sum(dim=1) - 1
        return key_CTH[torch.arange(len(last_C), device=last_C.device), last_C]


def masked_softmax(logits_L: Tensor, mask_L: Tensor) -> Tensor:
    """Softmax over the last axis where `mask_L` shows; exactly 0 elsewhere."""
    return torch.softmax(logits_L.masked_fill(~mask_L, float("-inf")), dim=-1)
