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
        ("<p>one</p><p>two &amp; three</p>", "one two & three"),
        ("<script>alert(1)</script>seen<!-- not --><style>p{}</style>", "seen"),
        ("<B>bold</B> and <a href='x'>link", "bold and link"),
        ("AT&amp;T &lt; 5 &#8217; &T; R&D", "AT&T < 5 \u2019 &T; R&D"),
        ("I <3 you, 5 < 6, Vector<int>", "I <3 you, 5 < 6, Vector<int>"),
        ("bell&#7; nul&#0;", "bell nul\ufffd"),
        ("<b>" * 5000 + "deep", "deep"),
        ("<br>", ""),
        ("\U0001f600 <i>\u05e9\u05dc\u05d5\u05dd</i>", "\U0001f600 \u05e9\u05dc\u05d5\u05dd"),
        (" \n ", ""),
        ("", ""),
        (None, ""),
    ],
)
def test_text_has_one_spelling(text: str | None, wanted: str) -> None:
    once = normalise(pa.array([text], pa.string()))
    assert once.to_pylist() == [wanted]
    assert normalise(once) == once
