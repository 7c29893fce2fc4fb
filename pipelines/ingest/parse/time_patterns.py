"""Parses times by a pattern of letters in the notation of Spark and Java (yyyy-MM-dd HH:mm:ss): text -> microseconds.

Python parses them, so that every engine reads the same times. Letters in any case (JAN, am), English names.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.ingest.parse.text_lists import as_numpy, is_null
from schemas.errors import InputError

_EPOCH = datetime(1970, 1, 1)
_MICRO = timedelta(microseconds=1)
_LARGEST_OFFSET = timedelta(hours=18)
_MONTHS = (
    *("january", "february", "march", "april", "may", "june", "july"),
    *("august", "september", "october", "november", "december"),
)
_PLAIN = {"yyyy", "M", "MM", "d", "dd", "H", "HH", "h", "hh", "m", "mm", "s", "ss", "a"}  # numbers, am and pm
_TOKEN = re.compile(r"'((?:[^']|'')*)'|([A-Za-z])\2*|(.)", re.DOTALL)
_NUMBERS = {"M": 12, "d": 31, "D": 366, "H": 23, "k": 24, "K": 11, "h": 12, "m": 59, "s": 59}
_ZONES = {  # for names without a region, as Java reads them
    **dict.fromkeys(("UT", "UTC", "GMT", "Z"), "UTC"),
    **dict.fromkeys(("EST", "EDT"), "America/New_York"),
    **dict.fromkeys(("CST", "CDT"), "America/Chicago"),
    **dict.fromkeys(("MST", "MDT"), "America/Denver"),
    **dict.fromkeys(("PST", "PDT"), "America/Los_Angeles"),
    **dict.fromkeys(("CET", "CEST"), "Europe/Paris"),
    **dict.fromkeys(("EET", "EEST"), "Europe/Bucharest"),
    **dict.fromkeys(("WET", "WEST"), "Europe/Lisbon"),
    "BST": "Europe/London",
    "JST": "Asia/Tokyo",
    "IST": "Asia/Kolkata",
}


@cache
def pattern_reader(pattern: str, zone: str) -> Callable[[str], int | None]:
    """A function that reads one text; None if the text does not fit or is no time. InputError for a pattern that cannot
    be read.

    A time without an offset or a zone of its own is in `zone`.
    """
    form, local = re.compile(_form_of(pattern), re.IGNORECASE | re.ASCII), ZoneInfo(zone)

    def read(text: str) -> int | None:
        found = form.fullmatch(text)
        return None if found is None else _micros(found.groupdict(), local)

    return read


def quick_micros(texts: pa.Array, pattern: str) -> pa.Array:
    """The times in UTC of texts by a pattern of numbers, all at once; null where `pattern_reader` has to decide."""
    tokens = [token[0] for token in _TOKEN.finditer(pattern) if token[2] is not None]
    if not {*tokens} <= _PLAIN or len({token[0] for token in tokens}) < len(tokens):
        return pa.nulls(len(texts), pa.int64())
    found = pc.extract_regex(texts, f"^(?i:{_form_of(pattern)})$")
    null = is_null(found)
    parts = {of.name: pc.if_else(pa.array(null), None, found.field(at)) for at, of in enumerate(found.type)}

    def number(name: str, default: int, least: int, most: int) -> Any:
        value = as_numpy(parts[name].cast(pa.int64()), default) if name in parts else np.full(len(texts), default)
        null[(value < least) | (value > most)] = True
        return np.where(null, default, value)

    months = (number("y4", 1970, 1, 9999) - 1970) * 12 + number("M", 1, 1, 12) - 1
    first, after = (part.astype("M8[M]").astype("M8[D]").astype(np.int64) for part in (months, months + 1))
    day = number("d", 1, 1, 31)
    hour = number("H", 0, 0, 23) if "h" not in parts else number("h", 12, 1, 12) % 12
    if "h" in parts and "a" in parts:
        hour = hour + 12 * as_numpy(pc.equal(pc.utf8_lower(parts["a"]), "pm"))
    seconds = ((first + day - 1) * 24 + hour) * 3600 + number("m", 0, 0, 59) * 60 + number("s", 0, 0, 59)
    return pa.array(seconds * 10**6, pa.int64(), mask=null | (day > after - first))


def _form_of(pattern: str) -> str:
    """The pattern as a regular expression with groups named by letters."""
    parts: list[str] = []
    names: set[str] = set()
    for token in _TOKEN.finditer(pattern):
        quoted, letter, other = token.groups()
        if letter is None:
            parts.append(re.escape(other if quoted is None else quoted.replace("''", "'") or "'"))
            continue
        name, form = _part(letter, len(token[0]), pattern)
        parts.append(f"(?P<{name}>{form})" if name not in names else f"(?P={name})")
        names.add(name)
    return "".join(parts)


def _part(letter: str, width: int, pattern: str) -> tuple[str, str]:
    """The name and the regular expression of a group."""
    forms = {
        "y": {1: "[0-9]{1,4}", 2: "[0-9]{2}"}.get(width, f"[0-9]{{{width}}}" if width <= 4 else ""),
        "M": {1: "[0-9]{1,2}", 2: "[0-9]{2}", 3: "|".join(name[:3] for name in _MONTHS), 4: "|".join(_MONTHS)}.get(
            width
        ),
        "D": {1: "[0-9]{1,3}", 2: "[0-9]{2,3}", 3: "[0-9]{3}"}.get(width),
        "S": f"[0-9]{{1,{width}}}" if width <= 9 else None,
        "a": "am|pm" if width == 1 else None,
        "X": {1: "z|[+-][0-9]{2}(?:[0-9]{2})?", 2: "z|[+-][0-9]{4}", 3: "z|[+-][0-9]{2}:[0-9]{2}"}.get(width),
        "x": {1: "[+-][0-9]{2}(?:[0-9]{2})?", 2: "[+-][0-9]{4}", 3: "[+-][0-9]{2}:[0-9]{2}"}.get(width),
        "Z": {5: "z|[+-][0-9]{2}:[0-9]{2}", 4: "gmt(?:[+-][0-9]{2}:[0-9]{2})?"}.get(width, "[+-][0-9]{4}"),
        "O": {1: "gmt(?:[+-][0-9]{1,2}(?::[0-9]{2})?)?", 4: "gmt(?:[+-][0-9]{2}:[0-9]{2})?"}.get(width),
        "V": "[a-z][a-z0-9_+-]*(?:/[a-z0-9_+-]+)*|[+-][0-9]{2}:[0-9]{2}" if width == 2 else None,
        "z": "[a-z][a-z0-9_+-]*(?:/[a-z0-9_+-]+)*" if width <= 3 else None,
    }
    letter = "y" if letter == "u" else letter
    number = {1: "[0-9]{1,2}", 2: "[0-9]{2}"}.get(width)
    form = forms.get(letter, number)
    if not form:
        raise InputError(f"log.time_format is {pattern!r}: {letter * width} cannot be read. Use fewer letters there")
    if letter in "XxZO":
        return "offset", form
    if letter in "Vz":
        return "zone", form
    return (f"y{width}" if letter == "y" else letter), form


def _micros(parts: dict[str, str], zone: ZoneInfo) -> int | None:
    numbers = {letter: int(parts[letter]) for letter in _NUMBERS if letter in parts and parts[letter].isdigit()}
    if any(number > _NUMBERS[letter] for letter, number in numbers.items()):
        return None
    if any(letter in numbers and numbers[letter] == 0 for letter in "kh"):
        return None
    hour = numbers.get("H", numbers.get("k", 0) % 24)
    if "h" in numbers or "K" in numbers:
        hour = numbers.get("K", numbers.get("h", 0)) % 12 + 12 * (parts.get("a", "am").lower() == "pm")
    try:
        at = datetime(_year(parts), _month(parts), numbers.get("d", 1), hour, numbers.get("m", 0), numbers.get("s", 0))
    except ValueError:
        return None
    if "D" in numbers:
        at += timedelta(days=numbers["D"] - 1)
        if numbers["D"] == 0 or at.year != _year(parts):
            return None
    at += int(parts.get("S", "").ljust(6, "0")[:6]) * _MICRO
    return _utc(at, parts, zone)


def _year(parts: dict[str, str]) -> int:
    name = next((name for name in parts if name.startswith("y")), None)
    if name is None:
        return 1970
    return int(parts[name]) + (2000 if name == "y2" else 0)


def _month(parts: dict[str, str]) -> int:
    text = parts.get("M", "1").lower()
    if text.isdigit():
        return int(text)
    return next(number for number, name in enumerate(_MONTHS, 1) if name.startswith(text))


def _utc(at: datetime, parts: dict[str, str], zone: ZoneInfo) -> int | None:
    text = parts.get("offset", parts.get("zone", "")).lower().removeprefix("gmt")
    if text[:1] in ("+", "-"):
        digits = text[1:].replace(":", "")
        hours, minutes = (digits, "0") if len(digits) <= 2 else (digits[:-2], digits[-2:])
        offset = timedelta(hours=int(hours), minutes=int(minutes)) * (-1 if text[0] == "-" else 1)
        if int(minutes) > 59 or abs(offset) > _LARGEST_OFFSET:
            return None
    elif "offset" in parts:
        offset = timedelta(0)
    else:
        named = _zone(parts["zone"]) if "zone" in parts else zone
        if named is None:
            return None
        try:
            offset = at.replace(tzinfo=named).utcoffset() or timedelta(0)
        except OverflowError:
            return None
    micros = (at - _EPOCH - offset) // _MICRO
    return micros if -62_135_596_800_000_000 <= micros < 253_402_300_800_000_000 else None


def _zone(name: str) -> ZoneInfo | None:
    try:
        return ZoneInfo(_ZONES.get(name.upper(), name))
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return None
