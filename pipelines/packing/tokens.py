"""Converts ITEM_TOKENS rows into the arrays of the token table, which a packed directory holds with its batches."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from schemas.errors import ContractError
from schemas.token_table import FURTHEST, TokenTable

COLUMNS = (
    "item_row",
    "canonical_row",
    "tokens_version",
    "segment_field",
    "segment_tokens",
    "segment_frequency",
    "segment_position",
)


def token_table(items: pa.Table, *, vocabulary: int) -> TokenTable:
    """The token table of all rows of ITEM_TOKENS. `items` has the columns COLUMNS."""
    return TokenTable(**_arrays(items, vocabulary=vocabulary, after=0))


def token_piece(items: pa.Table, *, vocabulary: int, after: int) -> dict[str, NDArray[Any]]:
    """The arrays of a token table of the rows after row `after`, renumbered, pad included. Raises ContractError if they
    break its rules. Only `canonical_row_V` keeps the row numbers of the complete table, and is not checked.
    """
    arrays = _arrays(items, vocabulary=vocabulary, after=after)
    own = np.arange(len(arrays["canonical_row_V"]), dtype=np.int32)
    TokenTable(**arrays | {"canonical_row_V": own})
    return arrays


def _arrays(items: pa.Table, *, vocabulary: int, after: int) -> dict[str, Any]:
    items = items.take(pc.sort_indices(items, [("item_row", "ascending")])).combine_chunks()
    rows = items["item_row"].to_numpy()
    if not np.array_equal(rows, np.arange(after + 1, after + len(rows) + 1)):
        raise ContractError(
            f"table item_tokens: the rows of its {len(rows)} items are not {after + 1} to {after + len(rows)}. "
            "Restore an earlier version of the table, or run ./feedloop prepare_news into an empty lake"
        )
    segments = items["segment_tokens"].combine_chunks()
    tokens = segments.flatten()
    values = tokens.flatten().to_numpy()
    frequency, position = (items[f"segment_{name}"].combine_chunks().flatten() for name in ("frequency", "position"))
    return {
        "segment_start_V1": np.concatenate([[0], _starts(pc.list_value_length(segments))]),  # row 0: the pad
        "token_start_S1": _starts(pc.list_value_length(tokens)),
        "segment_field_S": items["segment_field"].combine_chunks().flatten().to_numpy().astype(np.uint8),
        "token_values": values.astype(np.uint16 if vocabulary <= 1 << 16 else np.uint32),
        "canonical_row_V": np.concatenate([[0], items["canonical_row"].to_numpy()]).astype(np.int32),
        "tokens_version_V": np.concatenate([[0], items["tokens_version"].to_numpy()]).astype(np.int32),
        "refined_S": pc.list_value_length(frequency).to_numpy() > 0,
        "keyword_frequency_R": frequency.flatten().to_numpy().astype(np.uint8),
        "keyword_position_R": np.minimum(position.flatten().to_numpy(), FURTHEST).astype(np.uint16),
    }


def _starts(lengths: Any) -> NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum(lengths.to_numpy(), dtype=np.int64)])
