"""Tokens: ITEM_TOKENS -> the token table that travels with the batches."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from schemas.errors import ContractError
from schemas.token_table import TokenTable


def token_table(items: pa.Table, *, vocabulary: int) -> TokenTable:
    """The token table of all rows of ITEM_TOKENS (columns item_row, canonical_row, segment_field, segment_tokens)."""
    items = items.take(pc.sort_indices(items, [("item_row", "ascending")])).combine_chunks()
    rows = items["item_row"].to_numpy()
    if not np.array_equal(rows, np.arange(1, len(rows) + 1)):
        raise ContractError(
            f"table item_tokens: {len(rows)} items, and their rows are not 1 to {len(rows)}. "
            "Restore an earlier version of the table, or make it anew with ./feedloop prepare_news into an empty lake"
        )
    segments = items["segment_tokens"].combine_chunks()
    tokens = segments.flatten()
    values = tokens.flatten().to_numpy()
    return TokenTable(
        segment_start_V1=np.concatenate([[0], _starts(pc.list_value_length(segments))]),  # row 0, the pad: no segment
        token_start_S1=_starts(pc.list_value_length(tokens)),
        segment_field_S=items["segment_field"].combine_chunks().flatten().to_numpy().astype(np.uint8),
        token_values=values.astype(np.uint16 if vocabulary <= 1 << 16 else np.uint32),
        canonical_row_V=np.concatenate([[0], items["canonical_row"].to_numpy()]).astype(np.int32),
    )


def _starts(lengths: Any) -> NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum(lengths.to_numpy(), dtype=np.int64)])
