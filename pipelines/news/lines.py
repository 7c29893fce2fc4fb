"""Lines: one line of a publisher's news file -> its columns, by rules that no engine has a part in."""

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
    """The lines that a line feed ends, which carriage returns may part; bytes that are no UTF-8 become U+FFFD."""
    return [part.decode("utf-8", "replace").removeprefix("\ufeff") for part in line.splitlines()]


def from_json(line: str) -> Values:
    """Of a JSON object: texts as they are, all else as JSON writes it. What follows the object is left aside."""
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
    """Of so many cells parted by tabs, without quoting: COLUMNS as they are, or MIND's, which hold no body."""
    cells = line.split("\t")
    if len(cells) != columns:
        return _NOTHING
    return cells if columns == len(COLUMNS) else (*cells[: len(COLUMNS) - 1], "")


def _text(value: object, line: str, name: str) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    found = json.JSONDecoder().raw_decode(line.lstrip(_JSON_SPACE))[0]  # once more, with numbers that are no texts
    inner = (found[0] if isinstance(found, list) else found)[name]
    return json.dumps(inner, ensure_ascii=False, separators=(",", ":"))
