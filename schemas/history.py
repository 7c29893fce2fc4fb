"""A user's history: how an impression names its own among the sequences that are stored once; no engine."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import xxhash

from schemas.errors import ContractError

_SEED = 42  # Spark's, where xxhash64 is given none


def hash_of_history(clicks: Iterable[str]) -> int:
    """What Spark's `xxhash64` gives a list of texts, as a signed 64-bit number: each text's hash seeds the next one."""
    value = _SEED
    for news in clicks:
        value = xxhash.xxh64_intdigest(news.encode(), seed=value)
    return value - 2**64 if value >= 2**63 else value


def history_of(
    sequences: Iterable[Sequence[str]], length: int, history_hash: int, offset: int | None = None
) -> list[str]:
    """The history of an impression: `length` clicks from `offset` on (null: from the first one) of that sequence of the
    user where these have the hash.

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
        f"table histories lacks a history of {length} clicks that an impression names by hash {history_hash}. "
        "Ingest the raw logs into a new --lake"
    )
