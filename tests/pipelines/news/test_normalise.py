from __future__ import annotations

import pyarrow as pa
import pytest

from pipelines.news.normalise import normalise


def test_a_text_of_endless_markup_is_read_like_any_other() -> None:
    texts = ["<p>" + "a<!-- -->" * 60_000, "<script></script>" * 60_000, "<p " + "a=b " * 100_000, "<b>" * 300_000]
    assert [len(text) for text in normalise(pa.array(texts)).to_pylist()] == [60_000, 0, 400_002, 0]


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
        ("<p>By Jane</p></body></html><p>The council voted</p>", "By Jane The council voted"),
        ("<p>Intro.</p>" + "<div>" * 300 + "The article" + "</div>" * 300, "Intro. The article"),
        (
            "<span class='cap'>W</span>ashington H<sub>2</sub>O <b>COVID</b>-19 $<b>5</b>m",
            "Washington H2O COVID-19 $5m",
        ),
        ("<style>.a{color:red}</style>", ""),
        ("<script>window.dataLayer=[]", ""),
        ('<a title="x > y" href=\'z\'>link</a><p title="open>text', "link text"),
        ("<!DOCTYPE html><?xml version='1.0'?><![CDATA[kept]]>", "kept"),
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
