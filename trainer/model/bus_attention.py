"""Bus attention: the segments of one item attend to each other's [CLS] tokens (BusLM; SpeedyFeed, 4.2).

A token attends to its own segment and to the first token, the bus, of the item's other segments: S segments of T
tokens cost S * T * (T + S) and not (S * T)^2. It hooks into transformers' attention interface, so it works on every
family that uses the interface; trainer/setup/encoder_trial.py tries whether a family does.
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
    """What tokens attend to in one forward pass, where that differs from their own row."""

    def attend(
        self, module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, **kwargs: Any
    ) -> Tensor:
        """Attention of one layer (rows, tokens, heads, d)."""
        ...


class Bus:
    """The context of one forward pass over C items of S segments, item by item. Each call counts one layer.

    `first_layer`: number of the first layer that attends. Layer 0 has no bus: its [CLS] holds no context yet.
    """

    def __init__(self, segment_mask_CS: Tensor, first_layer: int) -> None:
        self._items, self._segments = segment_mask_CS.shape
        others_SS = ~torch.eye(self._segments, dtype=torch.bool, device=segment_mask_CS.device)
        self._visible_CSS = segment_mask_CS[:, None, :] & others_SS
        self._layer = first_layer

    def attend(
        self, module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, **kwargs: Any
    ) -> Tensor:
        """SDPA over a segment's own keys and, except in layer 0, those of the bus."""
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
        """`mask` (C*S, 1, 1 or T, T) with S more columns, which show the item's other segments."""
        rows, _, tokens, _ = key.shape
        if mask is None:
            mask = key.new_ones(rows, 1, 1, tokens, dtype=torch.bool)
        visible = self._visible_CSS.flatten(0, 1)[:, None, None, :].expand(-1, mask.shape[1], mask.shape[2], -1)
        if mask.dtype != torch.bool:
            visible = torch.zeros_like(visible, dtype=mask.dtype).masked_fill(~visible, torch.finfo(mask.dtype).min)
        return torch.cat([mask.expand(rows, -1, -1, -1), visible], dim=-1)


def _attention(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **kwargs: Any
) -> tuple[Tensor, None]:
    """Attention of one layer: plain SDPA, unless the model was called with `attention_context`, passed on to here."""
    context: AttentionContext | None = kwargs.pop("attention_context", None)
    if context is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)[0], None
    return context.attend(module, query, key, value, attention_mask, **kwargs), None


AttentionInterface.register(HOOK, _attention)
AttentionMaskInterface.register(HOOK, sdpa_mask)
