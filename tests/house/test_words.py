"""Retired words: private ones that a newcomer cannot guess. The field's words stand in ARCHITECTURE.md."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from tests.conftest import REPOSITORY
from tests.house.source import tracked

RETIRED = (
    *("told", "tells", "telling", "sighting", "sightings", "lonely", "tangled", "books", "keeping", "fitting"),
    *("judging", "judged", "judgement", "heed", "headed", "care", "beside", "whole"),
)
# Stored names, which tables, files and scripts of users hold.
STORED = ("sighting_id", "sighting_time", "sighting_shown", "whole_lines", '"keeping"', "chunked_vs_whole")
_LOWER = "|".join(RETIRED)
_TITLE = "|".join(word.capitalize() for word in RETIRED)
_UPPER = "|".join(word.upper() for word in RETIRED)
# A word in a sentence or in a name: between underscores, or with a capital letter inside of a name.
_WORD = re.compile(
    rf"(?<![A-Za-z])(?:{_LOWER})(?![a-z])|(?<![A-Z])(?:{_TITLE})(?![a-z])|(?<![A-Za-z])(?:{_UPPER})(?![A-Za-z])"
)
_TEXTS = (".py", ".md", ".j2", ".js", ".java", ".toml", ".kts", ".sh", "")
_EXEMPT = {
    "LICENSE",
    "LOG.md",  # a record: entries stay as they were written
    "tests/house/test_words.py",
}
# Strings that other programs or old data decide, by file.
ALLOWED: dict[str, tuple[str, ...]] = {
    "README.md": ("every-order-beside-random", "whole-steps-and-their-flatness"),  # anchors of LOG.md's entries
    "jobs/bench/reader.py": ("beside",),  # an option of its command line
    "jvm/feedloop/ConditionalPutLogStore.java": ("keepingDirs",),  # Hadoop's
    "trainer/checkpoint/state.py": ("keeping:",),  # the key as a field
    "tests/trainer/checkpoint/test_damaged_state.py": (r"\.keeping",),  # the key in messages
    "jobs/synthetic/text.py": ("told us", "tells us"),  # sentences of its news, which decide a sample's bytes
}


def found_in(text: str, allowed: tuple[str, ...] = ()) -> Iterator[tuple[int, str]]:
    """(line number, word) of every retired word."""
    for number, line in enumerate(text.splitlines(), start=1):
        for stored in (*STORED, *allowed):
            line = line.replace(stored, "")
        for match in _WORD.finditer(line):
            yield number, match.group(0)


def test_no_retired_word_is_used() -> None:
    wrong = [
        f"{name}:{number}: {word}"
        for name in tracked()
        if Path(name).suffix in _TEXTS and name not in _EXEMPT
        for number, word in found_in((REPOSITORY / name).read_text(encoding="utf-8"), ALLOWED.get(name, ()))
    ]
    assert not wrong, "use the field's word (ARCHITECTURE.md, Words):\n" + "\n".join(wrong)


def test_the_rule_sees_names_and_sentences() -> None:
    names = "class BooksAndMore: ...\nsighting_id = retold\nuntold = bookshelf\nkeeping"
    text = f"def with_told(x):\n    '''Lines told.'''\n{names}"
    assert list(found_in(text)) == [(1, "told"), (2, "told"), (3, "Books"), (6, "keeping")]
