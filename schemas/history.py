"""Looks up an impression's click history in the user's stored sequences, by length and hash; needs no engine."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import xxhash

from schemas.errors import ContractError

_SEED = 42  # Spark's default for xxhash64


def hash_of_history(clicks: Iterable[str]) -> int:
    """Spark's `xxhash64` of a list of texts, as a signed 64-bit integer: each text's hash seeds the next one."""
    value = _SEED
    for news in clicks:
        value = xxhash.xxh64_intdigest(news.encode(), seed=value)
    return value - 2**64 if value >= 2**63 else value


def history_of(
    sequences: Iterable[Sequence[str]], length: int, history_hash: int, offset: int | None = None
) -> list[str]:
    """The history of an impression: `length` clicks from `offset` on (null: from the first one) of the user's sequence
    whose slice has the hash.

    ContractError where no sequence has such a slice.
    """
    if length == 0:
        return []
    begin = offset or 0
    for clicks in sequences:
        found = list(clicks[begin : begin + length])
        if len(found) == length and hash_of_history(found) == history_hash:
            return found
    raise ContractError(
        f"table histories lacks a history of {length} clicks with hash {history_hash}, which an impression names. "
        "Ingest the raw logs into a new --lake"
    )
