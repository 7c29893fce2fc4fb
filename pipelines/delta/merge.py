"""Describes a MERGE of a frame into a stored table, in the terms that both writers of the lake share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

STORED, INCOMING = "stored", "incoming"  # how expressions name the two sides
OLD, GONE = "old", "gone"  # columns of a frame whose rows replace stored ones


@dataclass(frozen=True, slots=True, kw_only=True)
class Merge:
    """How to update stored rows with the key of an incoming row, in Spark's SQL; other incoming rows are inserted."""

    key: Sequence[str]
    values: Sequence[str]  # columns of an inserted row
    set_on_match: Mapping[str, str]  # column -> its new value
    update_when: str | None = None  # update only pairs for which this holds
    where: str | None = None  # only stored rows for which this holds can match
