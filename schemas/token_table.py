"""TOKEN_TABLE: the arrays stored with packed batches, so that a step ships integers and no text.

Compressed sparse rows on two levels: item row v owns segments segment_start_V1[v] up to segment_start_V1[v+1];
segment s owns token_values[token_start_S1[s] : token_start_S1[s+1]], [CLS] and [SEP] included.
Row 0, the pad, owns no segment. R tokens are in refined segments (refined_S): concatenated in the order of
token_values, each has the frequency and the position of its keyword; 0 and 0 for a special token.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
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
DTYPES: dict[str, tuple[str, ...]] = {
    "segment_start_V1": ("int64",),
    "token_start_S1": ("int64",),
    "segment_field_S": ("uint8",),
    "token_values": ("uint16", "uint32"),
    "canonical_row_V": ("int32",),
    "tokens_version_V": ("int32",),
    "refined_S": ("bool",),
    "keyword_frequency_R": ("uint8",),
    "keyword_position_R": ("uint16",),
}
_AGAIN = "Pack again with jobs.pack"
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
        _check_layout(self.arrays())
        for says, holds in _rules(self):
            if not holds:
                raise ContractError(f"token table: {says}. {_AGAIN}")

    @property
    def rows(self) -> int:
        """V: the number of item rows, the pad included."""
        return len(self.segment_start_V1) - 1

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """Name to array, for writing."""
        return {name: getattr(self, name) for name in ARRAYS}

    def check_tokens(self, *, vocabulary: int, segments: int, tokens: int, fields: int) -> None:
        """ContractError where a token id, a field, or the size of an item or a segment is beyond what these allow."""
        longest = int(np.diff(self.token_start_S1).max(initial=0))
        most = int(np.diff(self.segment_start_V1).max(initial=0))
        found = {
            "token id": (int(self.token_values.max(initial=0)), vocabulary - 1),
            "field": (int(self.segment_field_S.max(initial=0)), fields - 1),
            "segments of an item": (most, segments),
            "tokens of a segment": (longest, tokens),
        }
        for name, (largest, allowed) in found.items():
            if largest > allowed:
                raise ContractError(f"token table: {name} up to {largest}, the manifest allows {allowed}. {_AGAIN}")


def _check_layout(arrays: Mapping[str, NDArray[np.generic]]) -> None:
    for name, array in arrays.items():
        if array.ndim != 1 or array.dtype not in [np.dtype(known) for known in DTYPES[name]]:
            raise ContractError(
                f"token table: {name} is {array.dtype} of {array.ndim} axes, not {' or '.join(DTYPES[name])} of one. "
                f"{_AGAIN}"
            )


def _rules(table: TokenTable) -> Iterator[tuple[str, bool]]:
    """(fault, whether the rule holds) of each rule; later rules rely on earlier ones."""
    starts, tokens = table.segment_start_V1, table.token_start_S1
    yield "it has no row at all, or no offset", len(starts) >= 2 and len(tokens) >= 1
    yield "row 0 is the pad and owns no segment", int(starts[0]) == int(starts[1]) == int(tokens[0]) == 0
    yield "segment_start_V1 falls", bool((starts[1:] >= starts[:-1]).all())
    yield "token_start_S1 does not rise", bool((tokens[1:] > tokens[:-1]).all())
    ends = starts[-1] == len(tokens) - 1 and tokens[-1] == len(table.token_values)
    yield "offsets do not end where the values end", bool(ends)
    per_segment, per_row = (table.segment_field_S, table.refined_S), (table.canonical_row_V, table.tokens_version_V)
    lengths = {len(array) for array in per_segment} == {len(tokens) - 1}
    yield "arrays disagree on segments or rows", lengths and {len(array) for array in per_row} == {len(starts) - 1}
    canonical = table.canonical_row_V
    inside = canonical[0] == 0 and canonical[1:].min(initial=1) >= 1 and canonical.max() < len(canonical)
    yield "canonical_row_V names the pad, or a row that is not there", bool(inside)
    yield "canonical_row_V names a row that another one represents", bool((canonical[canonical] == canonical).all())
    yield "tokens_version_V is negative", int(table.tokens_version_V.min()) >= 0
    refined = int(np.diff(tokens)[np.asarray(table.refined_S)].sum())
    keywords = {len(table.keyword_frequency_R), len(table.keyword_position_R)} == {refined}
    yield "keywords are not those of the refined segments", keywords
