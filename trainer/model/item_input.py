"""Turns item rows into the encoder's input on the host: token indexes, masks and positions as numpy arrays.

The loader thread calls this, so that a step starts with arrays that only have to be copied to the device.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from schemas.token_table import TokenTable

IntArray = NDArray[np.integer[Any]]
BoolArray = NDArray[np.bool_]

FREQUENCIES = 16  # keyword frequencies are 0 to FREQUENCIES - 1; higher ones count as the highest


@dataclass(frozen=True, slots=True)
class Segments:
    """C items as S segments of T tokens, in the padded form. `token_CST` indexes the table's token values."""

    token_CST: IntArray
    mask_CST: BoolArray
    """real tokens; an item without segments shows one token, so that no softmax is empty"""
    segment_mask_CS: BoolArray
    segment_CS: IntArray
    """number of the segment in the table"""


class ItemInput:
    """The token table on the host. `store_H` holds the frozen layers' output for each token value (half precision)."""

    def __init__(self, table: TokenTable, *, device: torch.device, store_H: Tensor | None = None) -> None:
        """`device`: where the encoder computes. The store may be there or on the host."""
        self.device, self.store_H = device, store_H
        self._table = table
        self._starts_V1, self._token_start_S1 = np.array(table.segment_start_V1), np.array(table.token_start_S1)
        self._lengths_S = np.diff(self._token_start_S1)
        self.tokens_V: NDArray[np.int64] = np.diff(self._token_start_S1[self._starts_V1])
        self.segments_V: NDArray[np.int64] = np.diff(self._starts_V1)
        self.most_tokens = int(self.tokens_V.max(initial=0))
        """of any item"""
        self.longest_V = _longest_per_row(self._starts_V1, self._lengths_S)
        self.refined = bool(np.any(table.refined_S))
        self._keyword_start_S: NDArray[np.int64] | None = None
        if self.refined:
            of_refined_S = np.where(table.refined_S, self._lengths_S, 0)
            self._keyword_start_S = np.cumsum(of_refined_S) - of_refined_S

    def without_store(self) -> ItemInput:
        """The same items without the store, for rows whose frozen output it does not hold."""
        bare = copy.copy(self)
        bare.store_H = None
        return bare

    @property
    def token_values(self) -> int:
        """The number of token values in the table: the rows of a store."""
        return len(self._table.token_values)

    def shape(self, rows_C: IntArray) -> tuple[int, int]:
        """(most segments, longest segment) among the rows, each at least 1."""
        return (
            max(1, int(self.segments_V[rows_C].max(initial=1))),
            max(1, int(self.longest_V[rows_C].max(initial=1))),
        )

    def segments(self, rows_C: IntArray, shape: tuple[int, int] | None = None) -> Segments:
        """The rows' tokens in the padded form of `shape` (S, T), by default as small as the rows allow.

        An item without segments (the pad) shows one token, the table's first.
        """
        most, longest = self.shape(rows_C) if shape is None else shape
        segment_CS = self._starts_V1[rows_C][:, None] + np.arange(most)
        real_CS = np.arange(most) < self.segments_V[rows_C][:, None]
        segment_CS = np.where(real_CS, segment_CS, 0)
        length_CS = np.where(real_CS, self._lengths_S[segment_CS], 1)
        place_T = np.arange(longest)
        mask_CST = place_T < length_CS[:, :, None]
        token_CST = np.where(mask_CST, self._token_start_S1[segment_CS][:, :, None] + place_T, 0)
        return Segments(token_CST, mask_CST, real_CS | (np.arange(most) == 0), segment_CS)

    def ids(self, token_X: IntArray) -> NDArray[np.int64]:
        """The token ids of these indexes of token values."""
        return np.asarray(self._table.token_values)[token_X].astype(np.int64)

    def keywords(self, segments: Segments) -> tuple[NDArray[np.int64], NDArray[np.int64]] | None:
        """(frequency, position) of each token's keyword (C, S, T) in the text that its segment was refined from.

        Frequencies are below FREQUENCIES. Outside of refined segments: 0, and the position in the segment. None where
        no segment of the table is refined.
        """
        if self._keyword_start_S is None:
            return None
        segment_CS, mask_CST = segments.segment_CS, segments.mask_CST
        refined_CST = np.asarray(self._table.refined_S)[segment_CS][:, :, None] & mask_CST
        place_T = np.arange(mask_CST.shape[2])
        keyword_CST = np.where(refined_CST, self._keyword_start_S[segment_CS][:, :, None] + place_T, 0)
        frequency_CST = np.minimum(np.asarray(self._table.keyword_frequency_R)[keyword_CST], FREQUENCIES - 1)
        keyword_position_R = np.asarray(self._table.keyword_position_R)
        length_CS1 = self._lengths_S[segment_CS][:, :, None]
        after_last_CST = refined_CST & (place_T == length_CS1 - 1) & (length_CS1 > 1)  # [SEP] follows the last keyword
        position_CST = keyword_position_R[keyword_CST - after_last_CST].astype(np.int64) + after_last_CST
        position_CST = np.where(refined_CST, position_CST, np.where(mask_CST, place_T, 0))
        return np.where(refined_CST, frequency_CST, 0).astype(np.int64), position_CST

    @property
    def gathers_ahead(self) -> bool:
        """Whether stored output is gathered on the host before the step, as the store does not fit on the GPU."""
        return self.store_H is not None and self.device.type != self.store_H.device.type

    def gathered(self, token_X: IntArray) -> NDArray[np.float16]:
        """Stored output (..., H) of the frozen layers for indexes of token values, on the host."""
        assert self.store_H is not None, "the frozen layers' output has not been stored"
        found: NDArray[np.float16] = self.store_H[torch.from_numpy(token_X)].numpy()
        return found

    def stored(self, token_X: Tensor, dtype: torch.dtype) -> Tensor:
        """Stored output (..., H) of the frozen layers for indexes of token values, on the device, in `dtype`."""
        assert self.store_H is not None, "the frozen layers' output has not been stored"
        return self.store_H[token_X.to(self.store_H.device)].to(self.device, dtype)


def on_device(array: NDArray[Any], device: torch.device) -> Tensor:
    """A host array as a tensor on the device; copied from pinned memory to a GPU, so that the host never waits."""
    tensor = torch.from_numpy(np.ascontiguousarray(array))
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


def _longest_per_row(starts_V1: IntArray, lengths_S: IntArray) -> NDArray[np.int64]:
    """Tokens of each item row's longest segment; 0 for a row without segments."""
    longest_V = np.zeros(len(starts_V1) - 1, np.int64)
    some = np.diff(starts_V1) > 0
    if some.any():
        longest_V[some] = np.maximum.reduceat(lengths_S, starts_V1[:-1][some])
    return longest_V
