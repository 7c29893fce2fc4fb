"""Parses one line of JSON exactly: for lines that the vectorised parser (`json_fields.py`) leaves to it.

JSON is that of RFC 8259: names are compared exactly, and forms that the standard does not define (single quotes, NaN,
comments) are not JSON. Objects and lists may be nested DEEPEST levels deep.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any, NoReturn

from pipelines.ingest.parse.ids import id_of_number
from pipelines.ingest.parse.json_paths import Path
from pipelines.ingest.parse.mapping import EACH

DEEPEST = 500  # a recursive parser reaches this depth wherever it is called from
_STRINGS = re.compile(r'"(?:[^"\\]|\\.)*"')
_NO_BRACKETS = re.compile(r"[^\[\]{}]+")
_SURROGATE = re.compile("[\ud800-\udfff]")


class Members(list[tuple[str, Any]]):
    """A JSON object with all of its fields, also those of the same name."""


class Number(str):
    """A number as written in the line."""


def object_of(line: str) -> Members | None:
    """The object of the line; None if the line is not exactly one complete object."""
    if depth_of(line) > DEEPEST:
        return None
    try:
        record = json.loads(
            line, object_pairs_hook=Members, parse_int=Number, parse_float=Number, parse_constant=_refuse
        )
    except ValueError:
        return None
    return record if isinstance(record, Members) else None


def depth_of(line: str) -> int:
    """The depth of nested objects and lists of a line of JSON; 0 if it has at most DEEPEST brackets."""
    if line.count("[") + line.count("{") <= DEEPEST:
        return 0
    depth = deepest = 0
    for bracket in _NO_BRACKETS.sub("", _STRINGS.sub("", line)):
        depth += 1 if bracket in "[{" else -1
        deepest = max(deepest, depth)
    return deepest


def has_twice(record: Members, paths: Iterable[Path]) -> bool:
    """Whether an object holds a name of a path twice, which would be ambiguous."""
    below: dict[str, list[Path]] = {}
    for path in paths:
        if path:
            below.setdefault(path[0], []).append(path[1:])
    return any(_twice_at(record, name, rests) for name, rests in below.items())


def _twice_at(record: Members, name: str, rests: list[Path]) -> bool:
    values = [value for key, value in record if key == name]
    if len(values) > 1:
        return True
    into = [rest[1:] for rest in rests if rest and rest[0] == EACH]
    objects = values if not into else (values[0] if values and isinstance(values[0], list) else [])
    return any(isinstance(each, Members) and has_twice(each, into or rests) for each in objects)


def value_at(record: Any, path: Path) -> Any:
    """The value at the end of the path, None if there is none; for a path through EACH, a list of the values in the
    objects. WRONG if a step of the path finds no object.
    """
    for depth, name in enumerate(path):
        if name == EACH:
            if isinstance(record, list) and not isinstance(record, Members):
                return [_value_in(each, path[depth + 1 :]) for each in record]
            return None if record is None else WRONG
        if record is None or record is WRONG:
            return record
        if not isinstance(record, Members):
            return WRONG
        record = next((value for key, value in reversed(record) if key == name), None)
    return record


class _Wrong:
    """The value of a path of which a step finds no object."""


WRONG = _Wrong()


def _value_in(record: Any, path: Path) -> Any:
    value = value_at(record, path)
    return None if value is WRONG else value


def text_of(value: Any) -> str | None:
    """The value as text: a number as written, an object or a list as JSON without blanks; None if it is null."""
    if value is None or value is WRONG:
        return None
    if isinstance(value, str):
        return str(value)
    return _json_of(value)


def id_of(value: Any) -> str | None:
    """As `text_of`, for an id: None for a number that is no id."""
    return id_of_number(value) if isinstance(value, Number) else text_of(value)


def is_id(value: Any) -> bool:
    """Whether the value is neither an object nor a list."""
    return not isinstance(value, list)


def has_half_pair(text: str | None) -> bool:
    """Whether a letter of the text is half a surrogate pair."""
    return text is not None and _SURROGATE.search(text) is not None


def without_half_pairs(text: str | None) -> str | None:
    """The text with a question mark for each half of a surrogate pair, which UTF-8 cannot hold."""
    return text.encode("utf-8", "replace").decode() if text is not None and has_half_pair(text) else text


def _json_of(value: Any) -> str:
    if isinstance(value, Number):
        return str(value)
    if isinstance(value, Members):
        return "{" + ",".join(f"{_json_of(name)}:{_json_of(each)}" for name, each in value) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_json_of, value)) + "]"
    return json.dumps(value, ensure_ascii=False)


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")
