"""Bus attention: the segments of one item hear of each other through their [CLS] tokens (BusLM; SpeedyFeed, 4.2).

A token attends to its own segment and to the first token, the bus, of the item's other segments: S segments of T
tokens cost S * T * (T + S) and not (S * T)^2. It hooks into transformers' attention interface, so that it works on
every family that goes through it; whether one does is found out by trying.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

BUS_ATTENTION = "feedloop_bus"


class _Bus:
    """One forward pass over C items of S segments; the layers count themselves as they attend."""

    def __init__(self, segment_mask_CS: Tensor, first_layer: int) -> None:
        self._items, self._segments = segment_mask_CS.shape
        others_SS = ~torch.eye(self._segments, dtype=torch.bool, device=segment_mask_CS.device)
        self._heard_CSS = segment_mask_CS[:, None, :] & others_SS
        self._layer = first_layer

    def next_layer(self) -> int:
        self._layer += 1
        return self._layer - 1

    def keys_of(self, first_X: Tensor) -> Tensor:
        """The first tokens (C*S, heads, d) of all segments of the same item: (C*S, heads, S, d)."""
        bus_CSHD = first_X.unflatten(0, (self._items, self._segments))
        bus_CHSD = bus_CSHD.transpose(1, 2)[:, None].expand(-1, self._segments, -1, -1, -1)
        return torch.flatten(bus_CHSD, 0, 1)

    def mask_of(self, mask: Tensor | None, key: Tensor) -> Tensor:
        """`mask` (C*S, 1, 1 or T, T) with S more columns: the other segments that are there."""
        rows, _, tokens, _ = key.shape
        if mask is None:
            mask = key.new_ones(rows, 1, 1, tokens, dtype=torch.bool)
        heard = self._heard_CSS.flatten(0, 1)[:, None, None, :].expand(-1, mask.shape[1], mask.shape[2], -1)
        if mask.dtype != torch.bool:
            heard = torch.zeros_like(heard, dtype=mask.dtype).masked_fill(~heard, torch.finfo(mask.dtype).min)
        return torch.cat([mask.expand(rows, -1, -1, -1), heard], dim=-1)


_current: ContextVar[_Bus | None] = ContextVar("bus", default=None)


@contextmanager
def bus(segment_mask_CS: Tensor, *, first_layer: int) -> Iterator[None]:
    """While open, a model with BUS_ATTENTION hears the bus. Its rows are the C items' S segments, item by item.

    `first_layer`: number of the first layer that will attend. Layer 0 is left alone: its [CLS] says nothing yet.
    """
    if segment_mask_CS.shape[1] == 1:
        yield
        return
    token = _current.set(_Bus(segment_mask_CS, first_layer))
    try:
        yield
    finally:
        _current.reset(token)


def _bus_attention(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **kwargs: Any
) -> tuple[Tensor, None]:
    """SDPA over a segment's own keys, and the bus's where one is open."""
    open_bus = _current.get()
    if open_bus is not None and open_bus.next_layer() > 0:
        attention_mask = open_bus.mask_of(attention_mask, key)
        key, value = (torch.cat([own, open_bus.keys_of(own[:, :, 0])], dim=2) for own in (key, value))
    output, _ = sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)
    return output, None


AttentionInterface.register(BUS_ATTENTION, _bus_attention)
AttentionMaskInterface.register(BUS_ATTENTION, sdpa_mask)
