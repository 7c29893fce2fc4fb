"""Columns -> one line of JSON for each row, by Arrow alone, so that every engine writes the same bytes.

A null field is left out; a null inside a list is written. Only quotes, backslashes and control characters of texts are
escaped.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.ingest.parse.columns import lists_like

_ESCAPED = r'["\\\x00-\x1f]'
_EPOCH = datetime(1970, 1, 1)
_FIRST_MICRO, _LAST_MICRO = -62_135_596_800_000_000, 253_402_300_799_999_999  # of the years 1 to 9999


def json_lines(fields: Mapping[str, pa.Array]) -> pa.Array:
    """For each row the JSON object of these fields, by name: texts, lists of texts, or integers."""
    members = pc.utf8_slice_codeunits(json_members(fields), 1)
    return pc.binary_join_element_wise("{", members, "}", "").cast(pa.binary())


def json_members(fields: Mapping[str, pa.Array]) -> pa.Array:
    """The members of each row's object, with a comma before each.

    Arrow's own skipping of nulls is not used: it drops a row of nulls alone.
    """
    members = [pc.binary_join_element_wise(f",{json.dumps(name)}:", json_of(each), "") for name, each in fields.items()]
    return pc.binary_join_element_wise(*(pc.fill_null(each, "") for each in members), "")


def json_of(values: pa.Array) -> pa.Array:
    """Each text, list of texts or integer as JSON; null stays null."""
    if pa.types.is_integer(values.type):
        return values.cast(pa.string())
    if not pa.types.is_list(values.type):
        return _quoted(values)
    inside = lists_like(values, pc.fill_null(_quoted(values.flatten()), "null"))
    return pc.binary_join_element_wise("[", pc.binary_join(inside, ","), "]", "")


def iso_of(times: pa.Array, zone: str = "UTC") -> pa.Array:
    """Times in microseconds as ISO 8601 in UTC; times without a zone of their own are in `zone`."""
    micros = times.cast(pa.int64())
    if times.type.tz is None and zone != "UTC":
        micros = _in_utc(micros, ZoneInfo(zone))
    texts = pc.strftime(micros.cast(pa.timestamp("us")), format="%Y-%m-%dT%H:%M:%S")
    return pc.binary_join_element_wise(texts, "Z", "")


def texts_of(values: pa.Array) -> pa.Array:
    """Texts, integers, floats or booleans as text."""
    if not pa.types.is_floating(values.type):
        return values.cast(pa.string())
    return pa.array([None if number is None else repr(number) for number in values.to_pylist()], pa.string())


def _in_utc(micros: pa.Array, zone: ZoneInfo) -> pa.Array:
    """Local times in `zone` -> UTC: a repeated hour is the first one; a skipped hour has the offset before it."""
    known = np.asarray(micros.fill_null(0))
    offsets = [zone.utcoffset(_EPOCH + timedelta(microseconds=each)) or timedelta() for each in known.tolist()]
    moved: np.ndarray[Any, Any] = known - np.asarray(
        [round(offset.total_seconds()) * 1_000_000 for offset in offsets], np.int64
    )
    return pa.array(np.clip(moved, _FIRST_MICRO, _LAST_MICRO), mask=np.asarray(pc.is_null(micros)))


def _quoted(texts: pa.Array) -> pa.Array:
    plain = pc.binary_join_element_wise('"', texts, '"', "")
    special = pc.fill_null(pc.match_substring_regex(texts, _ESCAPED), False)
    if not pc.any(special).as_py():  # None of no text
        return plain
    escaped = [json.dumps(text, ensure_ascii=False) for text in texts.filter(special).to_pylist()]
    return pc.replace_with_mask(plain, special, pa.array(escaped, pa.string()))
