"""TOKEN_TABLE: the arrays that travel with packed batches, so that a step ships integers and no text.

Compressed sparse rows on two levels: item row v owns segments segment_start_V1[v] up to segment_start_V1[v+1];
segment s owns token_values[token_start_S1[s] : token_start_S1[s+1]], [CLS] and [SEP] included.
Row 0, the pad, owns no segment.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from schemas.errors import ContractError

TOKEN_FOLDER = "tokens"


def file_of(name: str) -> str:
    """The path of one array below the packed directory."""
    return f"{TOKEN_FOLDER}/{name}.npy"


ARRAYS = ("segment_start_V1", "token_start_S1", "segment_field_S", "token_values", "canonical_row_V")


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenTable:
    """V item rows with their token segments. dtypes: starts int64, field uint8, canonical int32,
    values uint16 where the vocabulary allows, else uint32."""

    segment_start_V1: NDArray[np.int64]
    token_start_S1: NDArray[np.int64]
    segment_field_S: NDArray[np.uint8]
    token_values: NDArray[np.uint16] | NDArray[np.uint32]
    canonical_row_V: NDArray[np.int32]

    def __post_init__(self) -> None:
        starts, tokens = self.segment_start_V1, self.token_start_S1
        if starts[0] != 0 or starts[1] != 0:
            raise ContractError("token table: row 0 is the pad and owns no segment")
        if starts[-1] != len(tokens) - 1 or tokens[-1] != len(self.token_values):
            raise ContractError("token table: offsets do not end where the values end. Pack again with jobs.pack")
        if len(self.segment_field_S) != len(tokens) - 1 or len(self.canonical_row_V) != len(starts) - 1:
            raise ContractError("token table: arrays disagree on segments or rows. Pack again with jobs.pack")

    @property
    def rows(self) -> int:
        """V: the number of item rows, the pad included."""
        return len(self.segment_start_V1) - 1

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """Name to array, for writing."""
        return {name: getattr(self, name) for name in ARRAYS}
