"""TOKEN_TABLE: the arrays that travel with packed batches, so that a step ships integers and no text.

Compressed sparse rows on two levels: item row v owns segments segment_start_V1[v] up to segment_start_V1[v+1];
segment s owns token_values[token_start_S1[s] : token_start_S1[s+1]], [CLS] and [SEP] included.
Row 0, the pad, owns no segment. R tokens stand in refined segments (refined_S): laid end to end in the order of
token_values, each has the frequency and the position of its keyword; 0 and 0 for a special token.
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


ARRAYS = (
    "segment_start_V1",
    "token_start_S1",
    "segment_field_S",
    "token_values",
    "canonical_row_V",
    "tokens_version_V",
    "refined_S",
    "keyword_frequency_R",
    "keyword_position_R",
)
ITEM_BYTES = {  # of one number in the file, at least
    "segment_start_V1": 8,
    "token_start_S1": 8,
    "segment_field_S": 1,
    "token_values": 2,
    "canonical_row_V": 4,
    "tokens_version_V": 4,
    "refined_S": 1,
}
FURTHEST = 65_535  # keyword positions are clipped here


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenTable:
    """V item rows with their token segments; values are uint16 where the vocabulary allows, else uint32.

    `tokens_version_V`: a vector made from an earlier version of a row's tokens is stale.
    """

    segment_start_V1: NDArray[np.int64]
    token_start_S1: NDArray[np.int64]
    segment_field_S: NDArray[np.uint8]
    token_values: NDArray[np.uint16] | NDArray[np.uint32]
    canonical_row_V: NDArray[np.int32]
    tokens_version_V: NDArray[np.int32]
    refined_S: NDArray[np.bool_]
    keyword_frequency_R: NDArray[np.uint8]
    keyword_position_R: NDArray[np.uint16]

    def __post_init__(self) -> None:
        starts, tokens = self.segment_start_V1, self.token_start_S1
        if starts[0] != 0 or starts[1] != 0:
            raise ContractError("token table: row 0 is the pad and owns no segment")
        if starts[-1] != len(tokens) - 1 or tokens[-1] != len(self.token_values):
            raise ContractError("token table: offsets do not end where the values end. Pack again with jobs.pack")
        per_segment, per_row = (self.segment_field_S, self.refined_S), (self.canonical_row_V, self.tokens_version_V)
        if {len(a) for a in per_segment} != {len(tokens) - 1} or {len(a) for a in per_row} != {len(starts) - 1}:
            raise ContractError("token table: arrays disagree on segments or rows. Pack again with jobs.pack")
        refined = int(np.diff(tokens)[np.asarray(self.refined_S)].sum())
        if {len(self.keyword_frequency_R), len(self.keyword_position_R)} != {refined}:
            raise ContractError(
                "token table: keywords are not those of the refined segments. Pack again with jobs.pack"
            )

    @property
    def rows(self) -> int:
        """V: the number of item rows, the pad included."""
        return len(self.segment_start_V1) - 1

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """Name to array, for writing."""
        return {name: getattr(self, name) for name in ARRAYS}
