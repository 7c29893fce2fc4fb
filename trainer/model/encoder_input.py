"""Makes the encoder's input for a chunk of items on the host, and names its tensors on the device."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from trainer.model.item_input import IntArray, ItemInput, Segments
from trainer.model.packed_rows import PackedSegments, RowMaps, pack_rows


class EncoderInput(NamedTuple):
    """The input of the trained layers for C items, as tensors: all that `TextEncoder.vectors` needs.

    X, T are rows and tokens: the padded form (C*S, T), or packed rows (R, W) with `context` and `slot_CST`.
    """

    input_XT: Tensor
    mask_CST: Tensor
    segment_mask_CS: Tensor
    frequency_XT: Tensor | None
    position_XT: Tensor | None
    context: PackedSegments | None
    slot_CST: Tensor | None


# The shape of a chunk's input: S segments of T tokens for each item, in R packed rows where items share rows.
Form = tuple[int, int, int | None]


class Layout(NamedTuple):
    """What an encoder reads of its items."""

    row_tokens: int
    """as encoder.row_tokens"""
    frozen: bool
    """reads the frozen layers' output, not token ids"""
    frequencies: bool
    """reads the frequency of refined text's keywords"""
    positions: bool
    """reads the position of refined text's keywords"""

    def width(self, items: ItemInput) -> int:
        """Tokens of a packed row: `row_tokens`, or a multiple of it where the table has longer items."""
        return -(-max(1, items.most_tokens) // self.row_tokens) * self.row_tokens


class ChunkArrays(NamedTuple):
    """The input of C items as arrays on the host, by name, and the (rows, tokens per row) that the layers compute."""

    arrays: dict[str, NDArray[Any]]
    computed: tuple[int, int]


def chunk_arrays(
    rows_C: IntArray, items: ItemInput, layout: Layout, form: Form | None = None, *, real: int | None = None
) -> ChunkArrays:
    """The input of the items (C,). `form`: None = the smallest that holds them.

    Rows after the first `real` are padding: their vectors are never read, and they take no room in packed rows.
    """
    most, longest, packed_rows = form or (*items.shape(rows_C), None)
    segments = items.segments(rows_C, (most, longest))
    arrays: dict[str, NDArray[Any]] = {"mask_CST": segments.mask_CST, "segment_mask_CS": segments.segment_mask_CS}
    source_XT = np.arange(segments.token_CST.size).reshape(-1, longest)
    if layout.row_tokens:
        packing = pack_rows(_lengths(segments, real), longest=longest, width=layout.width(items), rows=packed_rows)
        source_XT = np.maximum(packing.source_RW, 0)
        maps = RowMaps.of(packing.source_RW, segments=most, longest=longest)
        arrays |= {"slot_CST": packing.slot_CST, **maps.arrays()}
    token_XT = segments.token_CST.reshape(-1)[source_XT]
    if not layout.frozen:
        arrays["ids_XT"] = items.ids(token_XT)
    elif items.gathers_ahead:
        arrays["stored_XTH"] = items.gathered(token_XT)
    elif items.store_H is not None:
        arrays["token_XT"] = token_XT
    else:  # the frozen layers read the padded form
        arrays["lower_ids_CT"] = items.ids(segments.token_CST.reshape(-1, longest))
        arrays["source_XT"] = source_XT
    keywords = items.keywords(segments) if layout.frequencies or layout.positions else None
    if keywords is not None and layout.frequencies:
        arrays["frequency_XT"] = keywords[0].reshape(-1)[source_XT]
    if keywords is not None and layout.positions:
        arrays["keyword_position_XT"] = keywords[1].reshape(-1)[source_XT]
    rows, width = source_XT.shape
    return ChunkArrays(arrays, (rows, width))


def _lengths(segments: Segments, real: int | None) -> NDArray[np.int64]:
    """Tokens of each segment (C, S) as the masks show them; none of the items after the first `real`."""
    length_CS: NDArray[np.int64] = segments.mask_CST.sum(axis=2) * segments.segment_mask_CS
    if real is not None:
        length_CS[real:] = 0
    return length_CS
