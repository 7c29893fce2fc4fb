"""Packs segments of several items into rows of fixed width, so that the encoder computes less padding.

Titles are on average half as long as a segment. A row of 128 tokens holds as many complete items as fit; a token
attends to its own segment and, with a bus, to the first token of its item's other segments, as in the padded form.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention
from transformers.integrations.sdpa_attention import sdpa_attention_forward

IntArray = NDArray[np.integer[Any]]

_FLEX = torch.compile(flex_attention, dynamic=False)  # without a compiler it would store all scores


@dataclass(frozen=True, slots=True)
class Packing:
    """C items of S segments of at most T tokens in R rows of W: integers on the host.

    `source_RW`: which of the C*S*T places of the padded form each slot holds; -1 = padding.
    `slot_CST`: the inverse, flat in R*W; R*W = no token.
    """

    source_RW: IntArray
    slot_CST: IntArray


def pack_rows(length_CS: IntArray, *, longest: int, width: int, multiple: int = 1) -> Packing:
    """Puts each item into the fullest row with room for it, longest items first (best fit, decreasing).

    `length_CS`: tokens of each segment, 0 where there is none; `longest`: T. R is rounded up to a `multiple`. No item
    may be wider than `width`.
    """
    tokens_C = length_CS.sum(axis=1)
    assert tokens_C.max(initial=0) <= width, f"an item of {tokens_C.max()} tokens in rows of {width}"
    row_C, offset_C, rows = _best_fit(tokens_C, width)
    rows = -(-max(1, rows) // multiple) * multiple
    before_CS = np.cumsum(length_CS, axis=1) - length_CS
    start_CS = (row_C * width + offset_C)[:, None] + before_CS
    place_T = np.arange(longest)
    real_CST = place_T < length_CS[:, :, None]
    slot_CST = np.where(real_CST, start_CS[:, :, None] + place_T, rows * width)
    source_RW = np.full(rows * width, -1, np.int64)
    source_RW[slot_CST[real_CST]] = np.flatnonzero(real_CST)
    return Packing(source_RW.reshape(rows, width), slot_CST)


def _best_fit(tokens_C: IntArray, width: int) -> tuple[IntArray, IntArray, int]:
    """(row of each item, its offset in the row, number of rows)."""
    row_C, offset_C = np.zeros(len(tokens_C), np.int64), np.zeros(len(tokens_C), np.int64)
    with_room: list[list[int]] = [[] for _ in range(width + 1)]  # rows by their free tokens
    rows = 0
    for item in np.argsort(-tokens_C, kind="stable").tolist():
        size = int(tokens_C[item])
        room = next((left for left in range(size, width) if with_room[left]), width)
        if room == width:
            row, rows = rows, rows + 1
        else:
            row = with_room[room].pop()
        row_C[item], offset_C[item] = row, width - room
        with_room[room - size].append(row)
    return row_C, offset_C, rows


class PackedSegments:
    """The attention context of one forward pass over packed rows. Each call of `attend` counts one layer."""

    def __init__(
        self,
        source_RW: Tensor,
        *,
        segments: int,
        longest: int,
        first_layer: int,
        bus: bool,
        flex: bool,
        causal: bool = False,
    ) -> None:
        """`source_RW` as in Packing, of the padded form's `segments` of `longest` tokens.

        `flex`: FlexAttention where attention has no dropout; otherwise SDPA with a mask of all pairs.
        `causal`: a token sees only itself and earlier tokens of its segment.
        """
        self.position_RW = source_RW.clamp(min=0) % longest
        segment_RW = torch.div(source_RW, longest, rounding_mode="floor")  # -1 stays -1: padding sees padding
        item_RW = torch.div(source_RW, longest * segments, rounding_mode="floor")
        first_RW = (self.position_RW == 0) & (source_RW >= 0)
        self._has_bus = bus and segments > 1
        self._layer = first_layer
        self.own_RWW = (segment_RW[:, :, None] == segment_RW[:, None, :])[:, None]
        if causal:  # tokens are in order within a row, as within a segment
            self.own_RWW = self.own_RWW.tril()
        same_item_RWW = (item_RW[:, :, None] == item_RW[:, None, :]) & first_RW[:, None, :]
        self._with_bus_RWW = self.own_RWW | same_item_RWW[:, None] if self._has_bus else self.own_RWW
        # Built here, not in attend, so that a compiler of attend does not trace how its masks are built.
        masks = (self.own_RWW, self._with_bus_RWW)
        self._blocks = [_block_mask(mask) for mask in masks] if flex else []

    def attend(
        self, module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, **kwargs: Any
    ) -> Tensor:
        """Attention (R, W, heads, d) within segments and, except in layer 0, over the bus. `mask` is not used."""
        use_bus = self._has_bus and self._layer > 0
        self._layer += 1
        if self._blocks and not kwargs.get("dropout"):
            mixed = _FLEX(query, key, value, block_mask=self._blocks[use_bus], scale=kwargs.get("scaling"))
            return torch.as_tensor(mixed).transpose(1, 2).contiguous()
        visible = self._with_bus_RWW if use_bus else self.own_RWW
        return torch.as_tensor(sdpa_attention_forward(module, query, key, value, visible, **kwargs)[0])


def _block_mask(visible_R1WW: Tensor) -> BlockMask:
    visible_RWW = visible_R1WW[:, 0]
    rows, width, _ = visible_RWW.shape

    def visible(row: Tensor, _head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return visible_RWW[row, query, key]

    return create_block_mask(visible, rows, None, width, width, device=str(visible_RWW.device))
