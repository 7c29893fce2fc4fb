from __future__ import annotations

import pyarrow as pa
import pytest

from pipelines.news.normalise import normalise


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("Cafe\u0301", "Caf\u00e9"),
        ("  two \t words\r\n", "two words"),
        ("no\u00a0break\u3000wide\u2028line", "no break wide line"),
        ("bell\x07 nul\x00 del\x7f c1\x9f", "bell nul del c1"),
        ("a \x00 b", "a b"),
        ("a\x1fb", "a b"),
        ("\ufeffmark", "mark"),
        ('a "quoted" word', 'a "quoted" word'),
        (" \n ", ""),
        ("", ""),
        (None, ""),
    ],
)
def test_text_has_one_spelling(text: str | None, wanted: str) -> None:
    once = normalise(pa.array([text], pa.string()))
    assert once.to_pylist() == [wanted]
    assert normalise(once) == once
