"""Packs segments of several items into rows of fixed width, so that the encoder computes less padding.

Titles are on average half as long as a segment. A row of 128 tokens holds as many complete items as fit; a token
attends to its own segment and, with a bus, to the first token of its item's other segments, as in the padded form.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.attention.flex_attention import BlockMask, flex_attention
from transformers.integrations.sdpa_attention import sdpa_attention_forward

IntArray = NDArray[np.integer[Any]]

FLEX_BLOCK = 128  # FlexAttention's kernels divide rows by it

_FLEX = torch.compile(flex_attention, dynamic=False)  # without a compiler it would store all scores


@dataclass(frozen=True, slots=True)
class Packing:
    """C items of S segments of at most T tokens in R rows of W: integers on the host.

    `source_RW`: which of the C*S*T places of the padded form each slot holds; -1 = padding.
    `slot_CST`: the inverse, flat in R*W; R*W = no token.
    """

    source_RW: IntArray
    slot_CST: IntArray


def pack_rows(length_CS: IntArray, *, longest: int, width: int, rows: int | None = None) -> Packing:
    """Puts each item into the fullest row with room for it, longest items first (best fit, decreasing).

    `length_CS`: tokens of each segment, 0 where there is none; `longest`: T. `rows`: R, at least as many as needed;
    None = no more. No item may be wider than `width`. An item without tokens takes no room.
    """
    tokens_C = length_CS.sum(axis=1)
    assert tokens_C.max(initial=0) <= width, f"an item of {tokens_C.max()} tokens in rows of {width}"
    row_C, offset_C, needed = best_fit(tokens_C, width)
    rows = max(1, needed) if rows is None else rows
    assert needed <= rows, f"the items need {needed} rows, not {rows}"
    before_CS = np.cumsum(length_CS, axis=1) - length_CS
    start_CS = (row_C * width + offset_C)[:, None] + before_CS
    place_T = np.arange(longest)
    real_CST = place_T < length_CS[:, :, None]
    slot_CST = np.where(real_CST, start_CS[:, :, None] + place_T, rows * width)
    source_RW = np.full(rows * width, -1, np.int64)
    source_RW[slot_CST[real_CST]] = np.flatnonzero(real_CST)
    return Packing(source_RW.reshape(rows, width), slot_CST)


def best_fit(tokens_C: IntArray, width: int) -> tuple[IntArray, IntArray, int]:
    """(row of each item, its offset in the row, number of rows)."""
    row_C, offset_C = np.zeros(len(tokens_C), np.int64), np.zeros(len(tokens_C), np.int64)
    order = np.argsort(-tokens_C, kind="stable")
    order = order[: np.count_nonzero(tokens_C)]
    with_room: list[list[int]] = [[] for _ in range(width + 1)]  # rows by their free tokens
    free = 0  # bit n is set where with_room[n] is not empty: finds the smallest room without a search
    rows, row_of, offset_of = 0, [], []
    for size in tokens_C[order].tolist():
        roomy = free >> size
        if roomy:
            room = size + (roomy & -roomy).bit_length() - 1
            row = with_room[room].pop()
            if not with_room[room]:
                free &= ~(1 << room)
        else:
            room, row, rows = width, rows, rows + 1
        row_of.append(row)
        offset_of.append(width - room)
        if room > size:
            with_room[room - size].append(row)
            free |= 1 << (room - size)
    row_C[order], offset_C[order] = row_of, offset_of
    return row_C, offset_C, rows


class RowMaps(NamedTuple):
    """What attention needs to know of each slot (R, W) of packed rows; arrays on the host, or tensors on the device."""

    position_RW: Any
    """place in its segment; 0 in padding"""
    segment_RW: Any
    """number of its segment among all C*S; -1 in padding"""
    item_RW: Any = None
    """number of its item; None where items have one segment"""
    first_RW: Any = None
    """whether it is the first token of a segment; None as before"""

    @classmethod
    def of(cls, source_RW: IntArray, *, segments: int, longest: int) -> RowMaps:
        """The maps of a Packing of C items of `segments` S of at most `longest` T tokens, on the host."""
        position_RW = np.maximum(source_RW, 0) % longest
        segment_RW = source_RW // longest  # -1 stays -1: padding sees padding
        if segments == 1:
            return cls(position_RW, segment_RW)
        return cls(position_RW, segment_RW, source_RW // (longest * segments), (position_RW == 0) & (source_RW >= 0))

    def arrays(self) -> dict[str, Any]:
        """The maps by name, without absent ones."""
        return {name: each for name, each in self._asdict().items() if each is not None}

    def map(self, change: Callable[[Any], Any]) -> RowMaps:
        """`change` applied to each map."""
        return RowMaps.from_arrays({name: change(each) for name, each in self.arrays().items()})

    @classmethod
    def from_arrays(cls, found: Mapping[str, Any]) -> RowMaps:
        """The inverse of `arrays`; ignores other names."""
        return cls(*(found.get(name) for name in cls._fields))


class PackedSegments:
    """The attention context of one forward pass over packed rows. Each call of `attend` counts one layer."""

    def __init__(self, maps: RowMaps, *, first_layer: int, bus: bool, flex: bool, causal: bool = False) -> None:
        """`maps`: tensors. `flex`: FlexAttention where attention has no dropout; otherwise SDPA with a mask of all
        pairs. `causal`: a token sees only itself and earlier tokens of its segment."""
        self.position_RW: Tensor = maps.position_RW
        self._layer = first_layer
        self._has_bus = bus and maps.item_RW is not None
        self.flex = flex
        # Made here, not in attend, so that a compiler of attend does not trace how masks are made; each only if used.
        own, with_bus = not self._has_bus or first_layer == 0, self._has_bus
        self._own = _mask_of(maps, causal=causal, bus=False, flex=flex) if own else None
        self._with_bus = _mask_of(maps, causal=causal, bus=True, flex=flex) if with_bus else None

    def for_model(self) -> Tensor:
        """A mask (R, 1, W, W) for a model that wants one and passes it on to `attend`, which does not use it."""
        made = self._with_bus if self._own is None else self._own
        if isinstance(made, Tensor):
            return made
        rows, width = self.position_RW.shape
        return self.position_RW.new_ones(1, 1, 1, 1, dtype=torch.bool).expand(rows, 1, width, width)

    def attend(
        self, module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, **kwargs: Any
    ) -> Tensor:
        """Attention (R, W, heads, d) within segments and, except in layer 0, over the bus. `mask` is not used."""
        visible = self._with_bus if self._has_bus and self._layer > 0 else self._own
        self._layer += 1
        assert visible is not None, "made in __init__ for this layer"
        if isinstance(visible, Tensor):
            return torch.as_tensor(sdpa_attention_forward(module, query, key, value, visible, **kwargs)[0])
        assert not kwargs.get("dropout"), "FlexAttention has no dropout: `flex` is for attention without"
        mixed = _FLEX(query, key, value, block_mask=visible, scale=kwargs.get("scaling"))
        return torch.as_tensor(mixed).transpose(1, 2).contiguous()


def _mask_of(maps: RowMaps, *, causal: bool, bus: bool, flex: bool) -> Tensor | BlockMask:
    """The pairs of tokens that attend to each other, as a mask (R, 1, W, W) or in FlexAttention's form."""
    segment_RW = maps.segment_RW
    if flex:
        masks = copy.copy(_all_blocks(*segment_RW.shape, segment_RW.device))
        masks.mask_mod = _pair_rule(maps, causal=causal, bus=bus)
        return masks
    visible_RWW = segment_RW[:, :, None] == segment_RW[:, None, :]
    if causal:  # tokens are in order within a row, as within a segment
        visible_RWW = visible_RWW.tril()
    if bus:
        visible_RWW |= (maps.item_RW[:, :, None] == maps.item_RW[:, None, :]) & maps.first_RW[:, None, :]
    return torch.as_tensor(visible_RWW[:, None])


def _pair_rule(maps: RowMaps, *, causal: bool, bus: bool) -> Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]:
    """The same rule for one pair, as FlexAttention calls it."""
    segment_RW, item_RW, first_RW = maps.segment_RW, maps.item_RW, maps.first_RW

    def visible(row: Tensor, _head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        found: Tensor = segment_RW[row, query] == segment_RW[row, key]
        if causal:
            found = found & (query >= key)
        if bus:
            found = found | ((item_RW[row, query] == item_RW[row, key]) & first_RW[row, key])
        return found

    return visible


@lru_cache(maxsize=32)
def _all_blocks(rows: int, width: int, device: torch.device) -> BlockMask:
    """Every block of every row may hold visible pairs: the same for each chunk of a shape, so it is made once."""
    blocks = width // FLEX_BLOCK
    number = torch.full((rows, 1, blocks), blocks, dtype=torch.int32, device=device)
    index = torch.arange(blocks, dtype=torch.int32, device=device).expand(rows, 1, blocks, blocks).contiguous()
    made: BlockMask = BlockMask.from_kv_blocks(number, index, BLOCK_SIZE=FLEX_BLOCK)
    return made
