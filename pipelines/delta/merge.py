"""How the rows of a frame meet the stored rows of a table: the words that both writers of the lake share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

STORED, INCOMING = "stored", "incoming"  # how expressions name the two sides
OLD, GONE = "old", "gone"  # columns of a frame whose rows replace stored ones


@dataclass(frozen=True, slots=True, kw_only=True)
class Merge:
    """What becomes of stored rows that have the key of an incoming one; the others are inserted. All in Spark's SQL."""

    key: Sequence[str]
    values: Sequence[str]  # columns of an inserted row
    set_on_match: Mapping[str, str]  # column -> its new value
    update_when: str | None = None  # update only these
    where: str | None = None  # only these stored rows can match
