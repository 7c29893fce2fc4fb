"""Parses a log's extra columns: texts -> columns of their types; a text of another type is null."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.ingest.parse.json_exact import object_of, text_of
from pipelines.ingest.parse.json_values import Raw

TYPES = {"string": pa.string(), "long": pa.int64(), "double": pa.float64(), "boolean": pa.bool_()}
_WHITE = " \t\n\x0b\f\r"
_INTEGER = re.compile(r"[+-]?[0-9]+")
_DECIMAL = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?|[+-]?(inf|infinity)|nan", re.IGNORECASE)
_PLAIN = {"long": r"^-?[0-9]{1,18}$", "double": r"^-?[0-9]{1,15}(\.[0-9]{1,15})?$"}
_TRUE, _FALSE = {"t", "true", "y", "yes", "1"}, {"f", "false", "n", "no", "0"}
_text = msgspec.json.Decoder(str)


def text_of_value(value: Raw) -> str | None:
    """The value as text: a number as written, an object or a list as JSON without blanks; None if it is null."""
    text = bytes(value)
    match text[:1]:
        case b'"':
            return _text.decode(value)
        case b"n":
            return None
        case b"{" | b"[":
            record = object_of(f'{{"":{text.decode()}}}')
            return None if record is None else text_of(record[0][1])
    return text.decode()


def typed(texts: list[str | None], type: str) -> pa.Array:
    """The texts as values of one of EXTRA_TYPES, null where a text is no such value."""
    found = pa.array(texts, pa.string())
    if type == "string":
        return found
    if type in _PLAIN and pc.all(pc.match_substring_regex(found, _PLAIN[type])).as_py() is not False:
        return found.cast(TYPES[type])
    of = _OF[type]
    return pa.array([None if text is None else of(text.strip(_WHITE)) for text in texts], TYPES[type])


def _long(text: str) -> int | None:
    if not _INTEGER.fullmatch(text) or len(text.lstrip("+-0")) > 19:
        return None
    number = int(text)
    return number if -(1 << 63) <= number < 1 << 63 else None


def _double(text: str) -> float | None:
    return float(text) if _DECIMAL.fullmatch(text) else None


def _boolean(text: str) -> bool | None:
    word = text.lower()
    return True if word in _TRUE else False if word in _FALSE else None


_OF: dict[str, Callable[[str], Any]] = {"long": _long, "double": _double, "boolean": _boolean}
