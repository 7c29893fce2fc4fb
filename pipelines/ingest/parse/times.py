"""Texts of times -> microseconds since 1970, by a mapping's format and zone; null where a text holds no such time."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import Decimal
from functools import cache
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.ingest.parse.mapping import EPOCHS, LogMapping
from pipelines.ingest.parse.text_lists import as_numpy, is_null
from pipelines.ingest.parse.time_patterns import pattern_reader, quick_micros

_EPOCH = datetime(1970, 1, 1)
_MICRO = timedelta(microseconds=1)
# Python cannot convert every time of the first day of year 1 between zones.
_FIRST, _LAST = ((at - _EPOCH) // _MICRO for at in (datetime(1, 1, 2), datetime.max))
_LARGEST_OFFSET = timedelta(hours=18)
_DAYS = "(0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])|(0[13-9]|1[0-2])-(29|30)|(0[13578]|1[02])-31"
_CLOCK = r"([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]{1,6})?"
# Texts that a cast reads by the same rules: a day that every year has, an offset that exists.
_SURE = rf"^(19|20)[0-9]{{2}}-({_DAYS})[T ]{_CLOCK}"
_ZONED, _ZONELESS = rf"{_SURE}(Z|[+-](0[0-9]|1[0-7]):[0-5][0-9])$", rf"{_SURE}$"
_COMPACT = re.compile(r"([0-9]{4})([0-9]{2})([0-9]{2})T([0-9]{2})([0-9]{2})([0-9]{2})")
_ISO = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[T ]([0-9]{2}:[0-9]{2})(:[0-9]{2})?(?:\.([0-9]{1,9}))?"
    r"(?: ?(Z|UTC|GMT|([+-])([0-9]{2})(?::?([0-9]{2}))?))?"
)
_INTEGER = r"^-?[0-9]{1,18}$"
_NUMBER = re.compile(r"-?[0-9]{1,20}(\.[0-9]*)?([eE][+]?[0-9]{1,2})?")


def micros_of(texts: pa.Array, mapping: LogMapping) -> pa.Array:
    """The time of each text, in microseconds as int64."""
    if mapping.time_format in EPOCHS:
        return _epochs(texts, EPOCHS[mapping.time_format])
    if mapping.time_format == "iso":
        kind = (_ZONED, "UTC") if mapping.time_zone != "UTC" or _zoned_first(texts) else (_ZONELESS, None)
        sure = pc.match_substring_regex(texts, kind[0])
        quick = pc.if_else(sure, texts, None).cast(pa.timestamp("us", kind[1])).cast(pa.int64())
        return _filled(quick, texts, iso_reader(mapping.time_zone))
    read = pattern_reader(mapping.time_format, mapping.time_zone)
    utc = mapping.time_zone == "UTC"
    quick = quick_micros(texts, mapping.time_format) if utc else pa.nulls(len(texts), pa.int64())
    found = _filled(quick, texts, read)
    return pc.if_else(pc.greater_equal(found, _FIRST), found, None)


@cache
def iso_reader(zone: str) -> Callable[[str], int | None]:
    """A function that reads one text of ISO 8601 or RFC 3339; `zone` holds if the text has none."""
    local = ZoneInfo(zone)

    def read(text: str) -> int | None:
        plain = text.partition("[")[0].translate({ord(","): ".", ord("t"): "T", ord("z"): "Z"})
        found = _ISO.fullmatch(_COMPACT.sub(r"\1-\2-\3 \4:\5:\6", plain, count=1))
        if found is None or (found[4] and not found[3]):
            return None
        try:
            at = datetime.fromisoformat(f"{found[1]} {found[2]}{found[3] or ''}")
        except ValueError:
            return None
        fraction = int((found[4] or "").ljust(6, "0")[:6])
        return micros_at(at + fraction * _MICRO, _offset_of(found), local)

    return read


def micros_at(at: datetime, offset: timedelta | None, zone: ZoneInfo) -> int | None:
    """The time of a clock that is `offset` ahead of UTC; without an offset the clock is that of the zone.

    If the clock shows a time twice, the first one counts; a time that it skips is read by the offset before.
    """
    if offset is None:
        try:
            offset = at.replace(tzinfo=zone).utcoffset() or timedelta(0)
        except OverflowError:
            return None
    return ranged((at - _EPOCH - offset) // _MICRO) if abs(offset) <= _LARGEST_OFFSET else None


def ranged(micros: int) -> int | None:
    """The time; None if it is before year 1, in its first day, or after year 9999."""
    return micros if _FIRST <= micros <= _LAST else None


def _offset_of(found: re.Match[str]) -> timedelta | None:
    if found[5] is None:
        return None
    minutes = int(found[8] or 0)
    if minutes > 59:
        return _LARGEST_OFFSET * 2
    size = timedelta(hours=int(found[7] or 0), minutes=minutes)
    return -size if found[6] == "-" else size


def _zoned_first(texts: pa.Array) -> bool:
    """Whether one of the first times has an offset."""
    zoned = pc.match_substring_regex(texts.slice(0, 8), _ZONED)
    return bool(pc.any(zoned).as_py())


def _filled(quick: pa.Array, texts: pa.Array, read: Callable[[str], int | None]) -> pa.Array:
    """The times; where one is null and its text is not, the result of `read` for the text."""
    rows = np.flatnonzero(is_null(quick) & ~is_null(texts))
    if len(rows) == 0:
        return quick
    found, null = as_numpy(quick, 0).copy(), is_null(quick)
    known: dict[str, int | None] = {}
    for row, text in zip(rows.tolist(), texts.take(pa.array(rows)).to_pylist(), strict=True):
        if text not in known:
            known[text] = read(text)
        micros = known[text]
        if micros is not None:
            found[row], null[row] = micros, False
    return pa.array(found, pa.int64(), mask=null)


def _epochs(texts: pa.Array, unit: int) -> pa.Array:
    """Numbers in units of 10^unit seconds, in plain or scientific notation; digits below 1 us are cut off."""

    def read(text: str) -> int | None:
        if not _NUMBER.fullmatch(text):
            return None
        return ranged(int((Decimal(text) * Decimal(10) ** (unit + 6)).__floor__()))

    integers = pc.if_else(pc.match_substring_regex(texts, _INTEGER), texts, None).cast(pa.int64())
    numbers, null = as_numpy(integers, 0), is_null(integers)
    scale = 10 ** abs(unit + 6)
    if unit < -6:
        found = numbers // scale
    else:
        null = null | (np.abs(numbers) > _LAST // scale)
        found = np.where(null, 0, numbers) * scale
    null = null | (found < _FIRST) | (found > _LAST)
    return _filled(pa.array(found, pa.int64(), mask=null), texts, read)
