from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.news.lines import COLUMNS, from_json, from_tsv, texts_of_line

NOTHING = [None] * len(COLUMNS)


@pytest.mark.parametrize(
    ("line", "news_id", "title"),
    [
        ('{"news_id": 7, "title": 1.50}', "7", "1.50"),  # as it is written
        ('{"news_id": "a", "title": true}', "a", "true"),
        ('{"news_id": "a", "title": {"en": ["x", 1, null]}}', "a", '{"en":["x",1,null]}'),
        ('{"news_id": "a", "title": "t"},', "a", "t"),  # a line of an array that is written over many
        ('  [{"news_id": "a", "title": "t"}, {"news_id": "b"}]', "a", "t"),
        ('{"news_id": "a", "title": "t", "title": "u"}', "a", "u"),
        ('{"news_id": 123456789012345678901234567890}', "123456789012345678901234567890", None),
    ],
)
def test_values_of_json_are_texts_as_they_are_written(line: str, news_id: str, title: str | None) -> None:
    found = dict(zip(COLUMNS, from_json(line), strict=True))
    assert (found["news_id"], found["title"]) == (news_id, title)


@pytest.mark.parametrize("line", ["", "x", '"a"', "7", "[]", "[7]", '{"news_id": "a"', "[" * 5000, '{"news_id": "\t"}'])
def test_what_is_no_json_object_has_no_values(line: str) -> None:
    assert list(from_json(line)) == NOTHING


@given(st.dictionaries(st.sampled_from([*COLUMNS, "more"]), st.text() | st.none()))
def test_texts_come_through_json_as_they_were(news: dict[str, str | None]) -> None:
    for ascii_only in (True, False):
        assert list(from_json(json.dumps(news, ensure_ascii=ascii_only))) == [news.get(name) for name in COLUMNS]


def test_cells_are_counted() -> None:
    ours, minds = [str(number) for number in range(6)], [str(number) for number in range(8)]
    assert list(from_tsv("\t".join(ours), 6)) == ours
    assert list(from_tsv("\t".join(minds), 8)) == [*minds[:5], ""]  # MIND has no body
    assert list(from_tsv("\t".join(ours), 8)) == list(from_tsv("\t".join(minds), 6)) == NOTHING


def test_carriage_returns_part_lines_and_marks_and_broken_bytes_are_mended() -> None:
    assert texts_of_line(b"\xef\xbb\xbfa\rb\xff\r\n") == ["a", "b\ufffd"]
    assert texts_of_line("a\u2028b\x0bc\n".encode()) == ["a\u2028b\x0bc"]  # these part no line
