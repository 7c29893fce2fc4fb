"""Removes records of forgotten users from files of runs: lists in JSON, lines of JSON, pages."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipelines.lake.suppression import Suppressed

_USER_KEYS = ("user_id", "user")
_EXAMPLES = re.compile(r'(<script type="application/json" id="example-data">)(.*?)(</script>)', re.DOTALL)
_SCRIPT = re.compile(r"<script\b.*?</script>", re.DOTALL)
_WORD = re.compile(r"""[^\s"'`,;:=&?<>()\[\]{}|]+""")
_GONE = object()


def scrubbed_json(value: Any, who: Suppressed) -> tuple[Any, int]:
    """The value without records of forgotten users, and their number: a record is removed from its list, and null
    elsewhere.
    """
    kept, count = _scrubbed(value, who)
    return (None if kept is _GONE else kept), count


def _scrubbed(value: Any, who: Suppressed) -> tuple[Any, int]:
    if isinstance(value, dict):
        if any(isinstance(value.get(key), str) and who.anywhere(value[key]) for key in _USER_KEYS):
            return _GONE, 1
        parts = {key: _scrubbed(each, who) for key, each in value.items()}
        kept = {key: None if part is _GONE else part for key, (part, _) in parts.items()}
        return kept, sum(count for _, count in parts.values())
    if isinstance(value, list):
        items = [_scrubbed(each, who) for each in value]
        return [item for item, _ in items if item is not _GONE], sum(count for _, count in items)
    return value, 0


def scrubbed_text(path: Path, text: str, who: Suppressed) -> tuple[str, int]:
    """A file's text without records of forgotten users, by its suffix, and their number.

    ValueError where the text is not in the format of its suffix.
    """
    if path.suffix == ".json":
        value, count = scrubbed_json(json.loads(text), who)
        return (json.dumps(value, indent=1, ensure_ascii=False) + "\n" if count else text), count
    if path.suffix == ".jsonl":
        lines = text.splitlines(keepends=True)
        theirs = [bool(line.strip()) and scrubbed_json(json.loads(line), who)[1] > 0 for line in lines]
        return "".join(line for line, gone in zip(lines, theirs, strict=True) if not gone), sum(theirs)
    if path.suffix in (".html", ".htm"):
        return _scrubbed_page(text, who)
    return text, 0


def _scrubbed_page(text: str, who: Suppressed) -> tuple[str, int]:
    found = _EXAMPLES.search(text)
    if found is None:
        return text, 0
    value, count = scrubbed_json(json.loads(found[2]), who)
    if not count:
        return text, 0
    data = json.dumps(value, allow_nan=False, separators=(",", ":"), ensure_ascii=False)
    for letter in "<>&\u2028\u2029":  # escaped as in the page: nothing in it ends the element
        data = data.replace(letter, f"\\u{ord(letter):04x}")
    return text[: found.start(2)] + data + text[found.end(2) :], count


def mentions(path: Path, text: str, who: Suppressed) -> int:
    """The number of different ids of forgotten users among the text's words, numbers left out: they are ambiguous."""
    page = path.suffix in (".html", ".htm")
    words = set(_words(_SCRIPT.sub(" ", text) if page else text))
    return sum(who.anywhere(word) for word in words if not word.isdigit())


def _words(text: str) -> Iterator[str]:
    for found in _WORD.finditer(text):
        yield found[0]
        yield found[0].strip(".,")
