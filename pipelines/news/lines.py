"""Parses one line of a publisher's news file into its columns, by the same rules on every engine."""

from __future__ import annotations

import json
from collections.abc import Sequence

COLUMNS = ("news_id", "category", "subcategory", "title", "abstract", "body")
MIND_COLUMNS = 8  # id, category, subcategory, title, abstract, url, title entities, abstract entities
Values = Sequence[str | None]  # of COLUMNS

_NOTHING: Values = (None,) * len(COLUMNS)
_NUMBERS_AS_WRITTEN = json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=str)
_JSON_SPACE = " \t\r\n"


def texts_of_line(line: bytes) -> list[str]:
    """The lines in the bytes up to a line feed, which carriage returns may split. Invalid UTF-8 becomes U+FFFD."""
    return [part.decode("utf-8", "replace").removeprefix("\ufeff") for part in line.splitlines()]


def from_json(line: str) -> Values:
    """The columns of a JSON object: strings unchanged, other values as JSON text. Text after the object is ignored."""
    try:
        found, _ = _NUMBERS_AS_WRITTEN.raw_decode(line.lstrip(_JSON_SPACE))
    except (ValueError, RecursionError):
        return _NOTHING
    if isinstance(found, list) and found:
        found = found[0]
    if not isinstance(found, dict):
        return _NOTHING
    return [_text(found.get(name), line, name) for name in COLUMNS]


def from_tsv(line: str, columns: int) -> Values:
    """The columns of a line with this number of tab-separated cells, unquoted: COLUMNS, or MIND's without body."""
    cells = line.split("\t")
    if len(cells) != columns:
        return _NOTHING
    return cells if columns == len(COLUMNS) else (*cells[: len(COLUMNS) - 1], "")


def _text(value: object, line: str, name: str) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    found = json.JSONDecoder().raw_decode(line.lstrip(_JSON_SPACE))[0]  # again, now with numbers as numbers
    inner = (found[0] if isinstance(found, list) else found)[name]
    return json.dumps(inner, ensure_ascii=False, separators=(",", ":"))
