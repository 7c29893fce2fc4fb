"""Decides whether a line of JSON could be an impression of a mapping; no Spark."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import msgspec

from pipelines.ingest.parse.mapping import EACH, EPOCHS, LISTS, LogMapping

_SHOWN = 8  # bytes of an unknown line in a message: they may show its format, and hardly its user


def json_fault(mapping: LogMapping) -> Callable[[bytes], str | None]:
    """A function that returns why a line is no impression of the mapping (no object, or fields that are absent or of
    another form); None if it could be one.
    """
    wanted = {name: path for name, path in mapping.paths.items() if name in mapping.columns and name != "clicked"}

    def fault(line: bytes) -> str | None:
        try:
            record = json.loads(line.decode())  # json alone would read UTF-16 as well
        except (ValueError, RecursionError):
            return f"is not JSON: it begins with {line[:_SHOWN]!r}"
        if not isinstance(record, dict):
            return f"is no JSON object: it begins with {line[:_SHOWN]!r}"
        missing = [mapping.columns[name] for name, path in wanted.items() if not _holds(record, path)]
        if missing:
            return f"has the fields {sorted(record)} and lacks {missing}{_near(record, wanted)}"
        forms = (_form_fault(name, _value(record, path), mapping) for name, path in wanted.items())
        return next((found for found in forms if found), None)

    return fault


def is_complete_json(line: bytes) -> bool:
    """Whether a line is a complete JSON object: its last brace closes it."""
    try:
        msgspec.json.decode(line, type=dict[str, msgspec.Raw])
    except (ValueError, RecursionError):
        return False
    return True


def _form_fault(name: str, value: Any, mapping: LogMapping) -> str | None:
    column = mapping.columns[name]
    if name == "time" and mapping.time_format == "iso" and _is_number(value):
        return (
            f"holds the number {value!r:.40} in {column}, and times are read as iso: name its unit in a mapping, "
            f"time_format is one of {', '.join(EPOCHS)}"
        )
    if name not in LISTS or not mapping.is_list(name):
        return None
    if isinstance(value, str):
        return (
            f"holds a text in {column}, and {name} is read from a list: write {name} = {{ column = ..., split = ... }} "
            "in a mapping"
        )
    if name not in mapping.lists and isinstance(value, list) and value and all(isinstance(x, dict) for x in value):
        return (
            f"holds objects in the list {column}: say which of their fields {sorted(value[0])} is the id, "
            f"{name} = {{ column = ..., field = ... }} in a mapping"
        )
    return None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) or (isinstance(value, str) and value.isdecimal())


def _near(record: dict[str, Any], wanted: dict[str, tuple[str, ...]]) -> str:
    names = {path[0].casefold() for path in wanted.values() if path[0] not in record}
    return " (names are compared exactly)" if names & {name.casefold() for name in record} else ""


def _holds(record: Any, path: tuple[str, ...]) -> bool:
    if not path or path[0] == EACH:
        return True
    return isinstance(record, dict) and path[0] in record and _holds(record[path[0]], path[1:])


def _value(record: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        if name == EACH:
            break
        record = record[name]
    return record
