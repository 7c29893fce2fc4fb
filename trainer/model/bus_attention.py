"""Bus attention: the segments of one item hear of each other through their [CLS] tokens (BusLM; SpeedyFeed, 4.2).

A token attends to its own segment and to the first token, the bus, of the item's other segments: S segments of T
tokens cost S * T * (T + S) and not (S * T)^2. It hooks into transformers' attention interface, so that it works on
every family that goes through it; whether one does is found out by trying.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

HOOK = "feedloop"  # the name of our attention in transformers' interface


class AttentionContext(Protocol):
    """What a token attends to in one forward pass, where that is more or less than its own row."""

    def attend(
        self, module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, **kwargs: Any
    ) -> Tensor:
        """Attention of one layer (rows, tokens, heads, d)."""
        ...


class Bus:
    """One forward pass over C items of S segments, item by item; the layers count themselves as they attend.

    `first_layer`: number of the first layer that will attend. Layer 0 is left alone: its [CLS] says nothing yet.
    """

    def __init__(self, segment_mask_CS: Tensor, first_layer: int) -> None:
        self._items, self._segments = segment_mask_CS.shape
        others_SS = ~torch.eye(self._segments, dtype=torch.bool, device=segment_mask_CS.device)
        self._heard_CSS = segment_mask_CS[:, None, :] & others_SS
        self._layer = first_layer

    def attend(
        self, module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, **kwargs: Any
    ) -> Tensor:
        """SDPA over a segment's own keys and, but in layer 0, the bus's."""
        if self._layer > 0:
            mask = self._mask_of(mask, key)
            key, value = (torch.cat([own, self._keys_of(own[:, :, 0])], dim=2) for own in (key, value))
        self._layer += 1
        return sdpa_attention_forward(module, query, key, value, mask, **kwargs)[0]

    def _keys_of(self, first_X: Tensor) -> Tensor:
        """The first tokens (C*S, heads, d) of all segments of the same item: (C*S, heads, S, d)."""
        bus_CSHD = first_X.unflatten(0, (self._items, self._segments))
        bus_CHSD = bus_CSHD.transpose(1, 2)[:, None].expand(-1, self._segments, -1, -1, -1)
        return torch.flatten(bus_CHSD, 0, 1)

    def _mask_of(self, mask: Tensor | None, key: Tensor) -> Tensor:
        """`mask` (C*S, 1, 1 or T, T) with S more columns: the other segments that are there."""
        rows, _, tokens, _ = key.shape
        if mask is None:
            mask = key.new_ones(rows, 1, 1, tokens, dtype=torch.bool)
        heard = self._heard_CSS.flatten(0, 1)[:, None, None, :].expand(-1, mask.shape[1], mask.shape[2], -1)
        if mask.dtype != torch.bool:
            heard = torch.zeros_like(heard, dtype=mask.dtype).masked_fill(~heard, torch.finfo(mask.dtype).min)
        return torch.cat([mask.expand(rows, -1, -1, -1), heard], dim=-1)


def _attention(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **kwargs: Any
) -> tuple[Tensor, None]:
    """What layers call: plain SDPA, unless the model was called with `heard`, which families hand on to here."""
    heard: AttentionContext | None = kwargs.pop("heard", None)
    if heard is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)[0], None
    return heard.attend(module, query, key, value, attention_mask, **kwargs), None


AttentionInterface.register(HOOK, _attention)
AttentionMaskInterface.register(HOOK, sdpa_mask)
