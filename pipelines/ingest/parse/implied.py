"""Adds fields that a log's mapping leaves out and its lines imply: the news that a click shows, an impression's id."""

from __future__ import annotations

import struct
from dataclasses import replace

import pyarrow as pa
import xxhash

from pipelines.ingest.parse.mapping import LogMapping
from pipelines.ingest.parse.rules import Fields
from pipelines.ingest.parse.text_lists import TEXT

_SEED = 42


def with_implied_shown(fields: Fields, mapping: LogMapping) -> Fields:
    """Sets `shown` to the clicked news for a log of clicks alone, whose mapping has no column of shown news."""
    return fields if "shown" in mapping.columns else replace(fields, shown=fields.clicked)


def with_implied_id(fields: Fields, time: pa.Array, mapping: LogMapping) -> Fields:
    """Sets the id of impressions without one: a hash of the time and the set of shown news, in hexadecimal digits.

    The same line again is the same impression, and another click of the user is another one, even in the same second.
    The user id is not hashed, since user ids may be replaced (`privacy.py`); impressions are separated by user anyway.
    """
    if "impression_id" in mapping.columns:
        return fields
    shown = fields.shown.to_pylist()
    made = [_made_id(at, news or []) for at, news in zip(time.to_pylist(), shown, strict=True)]
    return replace(fields, impression_id=pa.array(made, TEXT))


def _made_id(time: int | None, shown: list[str | None]) -> str:
    """Equal to Spark's `xxhash64` of both, which skips nulls, so that the ids in older lakes stay the same."""
    value = _SEED if time is None else xxhash.xxh64_intdigest(struct.pack("<q", time), seed=_SEED)
    for news in sorted({news for news in shown if news is not None}):
        value = xxhash.xxh64_intdigest(news.encode(), seed=value)
    return f"{value:016x}"
