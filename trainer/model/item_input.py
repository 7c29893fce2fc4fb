"""Turns item rows into dense inputs of the text encoder: token ids or the stored output of frozen layers."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from schemas.token_table import TokenTable
from trainer.model.packed_rows import IntArray, Packing, pack_rows

FREQUENCIES = 16  # keyword frequencies are 0 to FREQUENCIES - 1; higher ones count as the highest


@dataclass(frozen=True, slots=True)
class Segments:
    """C items as S segments of T tokens. `mask_CST` and `segment_mask_CS` show the real ones.

    `token_XT` indexes the table's token values, in the padded form (C*S, T) or in packed rows (R, W); `source_RW` and
    `slot_CST` then translate as in Packing.
    """

    token_XT: Tensor
    mask_CST: Tensor
    segment_mask_CS: Tensor
    source_RW: Tensor | None = None
    slot_CST: Tensor | None = None


class ItemInput:
    """The token table on a device. `store_H` holds the frozen layers' output for each token value (half precision)."""

    def __init__(
        self,
        table: TokenTable,
        *,
        device: torch.device,
        table_device: torch.device | None = None,
        store_H: Tensor | None = None,
    ) -> None:
        """Results are on `device`; the table may be on another one, `table_device`, and so may the store."""
        self.device = device
        self._place = table_device or device
        starts, tokens = np.array(table.segment_start_V1), np.array(table.token_start_S1)
        self._starts_V1, self._lengths_S = starts, np.diff(tokens)  # on the host: shapes do not wait for a device
        self._segments_V, self._longest_V = np.diff(starts), _longest_per_row(starts, self._lengths_S)
        self.segment_start_V1 = torch.from_numpy(starts).to(self._place)
        self.token_start_S1 = torch.from_numpy(tokens).to(self._place)
        self.value = torch.from_numpy(np.asarray(table.token_values).astype(np.int32)).to(self._place)
        self.store_H = store_H
        self.frequency, self.position = (torch.from_numpy(a).to(self._place) for a in _of_keywords(table))
        self.refined = bool(np.any(table.refined_S))
        self.tokens_V = tokens_per_row(table)

    def without_store(self) -> ItemInput:
        """The same items without the store, for rows whose frozen output it does not hold."""
        bare = copy.copy(self)
        bare.store_H = None
        return bare

    def shape(self, rows_C: IntArray, *, steps: int = 1) -> tuple[int, int]:
        """(most segments, longest segment) among the rows. With `steps` > 1: (the table's most segments, T rounded up
        to one of `steps` lengths), so that few shapes occur."""
        longest = max(1, int(self._longest_V[rows_C].max(initial=1)))
        if steps == 1:
            return max(1, int(self._segments_V[rows_C].max(initial=1))), longest
        step = -(-max(1, int(self._longest_V.max(initial=1))) // steps)
        return max(1, int(self._segments_V.max(initial=1))), -(-longest // step) * step

    def segments(self, rows_C: IntArray, shape: tuple[int, int] | None = None) -> Segments:
        """The rows' tokens in the padded form, as wide as the most segments and the longest segment among them.

        An item without segments (the pad) shows one token, the table's first, so that no softmax is empty.
        """
        most, longest = self.shape(rows_C) if shape is None else shape
        row_C = on_device(rows_C, self._place)
        start_C, end_C = self.segment_start_V1[row_C], self.segment_start_V1[row_C + 1]
        segment_CS = start_C[:, None] + torch.arange(most, device=self._place)
        segment_mask_CS = segment_CS < end_C[:, None]
        segment_CS = torch.where(segment_mask_CS, segment_CS, 0)
        begin_CS = self.token_start_S1[segment_CS]
        length_CS = torch.where(segment_mask_CS, self.token_start_S1[segment_CS + 1] - begin_CS, 1)
        offset_T = torch.arange(longest, device=self._place)
        mask_CST = offset_T < length_CS[:, :, None]
        token_CST = torch.where(mask_CST, begin_CS[:, :, None] + offset_T, 0)
        segment_mask_CS = segment_mask_CS | (torch.arange(most, device=self._place) == 0)
        masks = (mask.to(self.device) for mask in (mask_CST, segment_mask_CS))
        return Segments(token_CST.flatten(0, 1), *masks)

    def packed(self, rows_C: IntArray, width: int, shape: tuple[int, int] | None = None, rows: int = 1) -> Segments:
        """The rows' tokens in packed rows of `width` tokens, or of a multiple of it where the table has longer items.
        The number of packed rows is a multiple of `rows`."""
        shape = self.shape(rows_C) if shape is None else shape
        padded = self.segments(rows_C, shape)
        made = self.packing(rows_C, width, shape, rows)
        source_RW = on_device(made.source_RW, self.device)
        token_RW = padded.token_XT.flatten()[source_RW.clamp(min=0).to(self._place)]
        slot_CST = on_device(made.slot_CST, self.device)
        return Segments(token_RW, padded.mask_CST, padded.segment_mask_CS, source_RW, slot_CST)

    def packing(self, rows_C: IntArray, width: int, shape: tuple[int, int], rows: int = 1) -> Packing:
        """The positions of the rows' tokens in the packed form, on the host."""
        widest = max(1, int(self.tokens_V.max(initial=1)))
        lengths_CS = self._lengths(rows_C, shape[0])
        return pack_rows(lengths_CS, longest=shape[1], width=-(-widest // width) * width, multiple=rows)

    def _lengths(self, rows_C: IntArray, most: int) -> IntArray:
        """Tokens of each segment of the rows, on the host; an item without segments has one of one token."""
        segment_CS = self._starts_V1[rows_C][:, None] + np.arange(most)
        real_CS = np.arange(most) < self._segments_V[rows_C][:, None]
        length_CS = np.where(real_CS, self._lengths_S[np.where(real_CS, segment_CS, 0)], 0)
        length_CS[:, 0] = np.maximum(length_CS[:, 0], 1)
        return np.asarray(length_CS, np.int64)

    def ids(self, segments: Segments) -> Tensor:
        """Token ids (X, T)."""
        return self.value[segments.token_XT].to(self.device).long()

    def frequencies(self, segments: Segments) -> Tensor | None:
        """The frequency (X, T) of each token's keyword in its text, below FREQUENCIES; 0 outside refined segments.

        None where no segment of the table is refined.
        """
        return self.frequency[segments.token_XT].to(self.device).long() if self.refined else None

    def positions(self, segments: Segments) -> Tensor | None:
        """Each token's position (X, T) in the text that its segment was refined from; None as for frequencies."""
        return self.position[segments.token_XT].to(self.device).long() if self.refined else None

    def stored(self, segments: Segments, dtype: torch.dtype) -> Tensor:
        """Stored output (X, T, H) of the frozen layers in `dtype`."""
        assert self.store_H is not None, "the frozen layers' output has not been stored"
        return self.store_H[segments.token_XT.to(self.store_H.device)].to(self.device, dtype)


def on_device(numbers: IntArray, device: torch.device) -> Tensor:
    """Host integers as a tensor on the device; copied from pinned memory to a GPU, so that the host never waits."""
    tensor = torch.from_numpy(np.asarray(numbers, np.int64))
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


def _longest_per_row(starts_V1: IntArray, lengths_S: IntArray) -> IntArray:
    """Tokens of each item row's longest segment; 0 for a row without segments."""
    longest_V = np.zeros(len(starts_V1) - 1, np.int64)
    some = np.diff(starts_V1) > 0
    if some.any():
        longest_V[some] = np.maximum.reduceat(lengths_S, starts_V1[:-1][some])
    return longest_V


def _of_keywords(table: TokenTable) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    """(frequency, position) of every token value. Outside refined segments: 0 and its position in the segment."""
    starts = np.asarray(table.token_start_S1)
    lengths = np.diff(starts)
    position = (np.arange(starts[-1]) - np.repeat(starts[:-1], lengths)).astype(np.int32)
    frequency = np.zeros(len(position), np.uint8)
    refined = np.repeat(np.asarray(table.refined_S), lengths)
    frequency[refined] = np.minimum(table.keyword_frequency_R, FREQUENCIES - 1)
    position[refined] = table.keyword_position_R
    last = starts[1:][np.asarray(table.refined_S) & (lengths > 1)] - 1  # [SEP] follows the last keyword
    position[last] = position[last - 1] + 1
    return frequency, position


def tokens_per_row(table: TokenTable) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Tokens of each item row, over all its segments."""
    return np.diff(np.asarray(table.token_start_S1)[np.asarray(table.segment_start_V1)])
