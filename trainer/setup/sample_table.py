"""Takes a few items out of a token table, on which a language model is tried."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from schemas.token_table import TokenTable


def sample_table(table: TokenTable, rows: NDArray[np.int64]) -> TokenTable:
    """A table of up to four of the item rows: those with most and fewest tokens, and some between.

    If the table has refined segments, all segments of the sample are refined.
    """
    starts_V1, tokens_S1 = np.asarray(table.segment_start_V1), np.asarray(table.token_start_S1)
    per_row = np.diff(tokens_S1[starts_V1])[rows]
    order = rows[np.argsort(-per_row, kind="stable")][: int((per_row > 0).sum())]
    chosen = np.unique(order[np.linspace(0, len(order) - 1, 4).astype(np.int64)])
    segments = [np.arange(starts_V1[row], starts_V1[row + 1]) for row in chosen]
    taken_S = np.concatenate(segments)
    lengths = np.diff(tokens_S1)[taken_S]
    values = [np.asarray(table.token_values[tokens_S1[s] : tokens_S1[s + 1]]) for s in taken_S]
    refined = bool(np.any(table.refined_S))
    positions = [np.arange(length) for length in lengths] if refined else [np.zeros(0)]
    return TokenTable(
        segment_start_V1=np.r_[0, 0, np.cumsum([len(each) for each in segments])].astype(np.int64),
        token_start_S1=np.r_[0, np.cumsum(lengths)].astype(np.int64),
        segment_field_S=np.asarray(table.segment_field_S)[taken_S],
        token_values=np.concatenate(values),
        canonical_row_V=np.arange(len(chosen) + 1, dtype=np.int32),
        tokens_version_V=np.ones(len(chosen) + 1, np.int32),
        refined_S=np.full(len(taken_S), refined),
        keyword_frequency_R=np.ones(int(lengths.sum()) if refined else 0, np.uint8),
        keyword_position_R=np.concatenate(positions).astype(np.uint16),
    )
