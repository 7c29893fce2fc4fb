"""ItemInput: item rows -> dense inputs of the text encoder, token ids or the stored output of frozen layers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from schemas.token_table import TokenTable

FREQUENCIES = 16  # a keyword that stands more often in its text counts as one that stands FREQUENCIES - 1 times


@dataclass(frozen=True, slots=True)
class Segments:
    """C items as S segments of T tokens. `token_CST` indexes the table's token values; masks say what is real."""

    token_CST: Tensor
    mask_CST: Tensor
    segment_mask_CS: Tensor


class ItemInput:
    """Token table on the device. `store_H` holds, token by token, what the frozen layers gave (half precision)."""

    def __init__(self, table: TokenTable, *, device: torch.device, store_H: Tensor | None = None) -> None:
        self.device = device
        self.segment_start_V1 = torch.from_numpy(np.array(table.segment_start_V1)).to(device)
        self.token_start_S1 = torch.from_numpy(np.array(table.token_start_S1)).to(device)
        self.value = torch.from_numpy(np.asarray(table.token_values).astype(np.int32)).to(device)
        self.store_H = store_H
        self.frequency, self.position = (torch.from_numpy(a).to(device) for a in _of_keywords(table))
        self.refined = bool(np.any(table.refined_S))
        self.tokens_V = tokens_per_row(table)

    def segments(self, row_C: Tensor) -> Segments:
        """The places of the rows' tokens, trimmed to the most segments and the longest segment among them.

        An item without segments (the pad) shows one token, the table's first, so that no softmax is empty.
        """
        start_C, end_C = self.segment_start_V1[row_C], self.segment_start_V1[row_C + 1]
        most = max(1, int((end_C - start_C).max()))
        segment_CS = start_C[:, None] + torch.arange(most, device=self.device)
        segment_mask_CS = segment_CS < end_C[:, None]
        segment_CS = torch.where(segment_mask_CS, segment_CS, 0)
        begin_CS = self.token_start_S1[segment_CS]
        length_CS = torch.where(segment_mask_CS, self.token_start_S1[segment_CS + 1] - begin_CS, 1)
        longest = max(1, int(length_CS.max()))
        offset_T = torch.arange(longest, device=self.device)
        mask_CST = offset_T < length_CS[:, :, None]
        token_CST = torch.where(mask_CST, begin_CS[:, :, None] + offset_T, 0)
        segment_mask_CS = segment_mask_CS | (torch.arange(most, device=self.device) == 0)
        return Segments(token_CST, mask_CST, segment_mask_CS)

    def ids(self, segments: Segments) -> Tensor:
        """Token ids CST."""
        return self.value[segments.token_CST].long()

    def frequencies(self, segments: Segments) -> Tensor | None:
        """How often each token's keyword stands in its text, CST, below FREQUENCIES; 0 outside refined segments.

        None where no segment of the table is refined.
        """
        return self.frequency[segments.token_CST].long() if self.refined else None

    def positions(self, segments: Segments) -> Tensor | None:
        """Where each token stood in the text that its segment was refined from, CST; None as for frequencies."""
        return self.position[segments.token_CST].long() if self.refined else None

    def stored(self, segments: Segments, dtype: torch.dtype) -> Tensor:
        """Stored output of the frozen layers, CSTH, in `dtype`."""
        assert self.store_H is not None, "the frozen layers' output has not been stored"
        return self.store_H[segments.token_CST.to(self.store_H.device)].to(self.device, dtype)


def _of_keywords(table: TokenTable) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    """(frequency, position) of every token value. Outside refined segments: 0, and the place in its segment."""
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
