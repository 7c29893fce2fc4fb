from __future__ import annotations

import gzip
import json
from io import BytesIO
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyspark.sql import SparkSession

from pipelines.compressed import plain_name, with_compressed
from pipelines.news.readers import COLUMNS, from_json, from_tsv, lines_of, news_file, read_news, texts_of_line
from schemas.errors import InputError
from tests.builders import rows
from tests.compressing import packed

MIND = 'N1\tsport\tgolf\tA "quote" that never ends\tAbout it\thttps://x\t[]\t[]'
NOTHING = [None] * len(COLUMNS)


def test_mind_lines_are_read_without_quoting(spark: SparkSession, tmp_path: Path) -> None:
    file = tmp_path / "news.tsv.gz"
    cut = MIND.removesuffix("\t[]\t[]")  # six columns in a file of eight
    file.write_bytes(gzip.compress(f"{MIND}\n\nN2\ttoo few\n{cut}\n".encode()))
    found = rows(read_news(spark, file).drop("place"))
    assert found == [("N1", "sport", "golf", 'A "quote" that never ends', "About it", ""), *[(None, *[""] * 5)] * 2]


@pytest.mark.parametrize("name", with_compressed("news.tsv", "news.jsonl"))
def test_a_compressed_file_holds_the_same_news(spark: SparkSession, tmp_path: Path, name: str) -> None:
    lines = [MIND, MIND.replace("N1", "N2")] if "tsv" in name else ['{"news_id": "N1"}', '{"news_id": "N2"}']
    (tmp_path / name).write_bytes(packed(name, f"{lines[0]}\n".encode(), lines[1].encode()))
    assert [row["news_id"] for row in sorted(read_news(spark, news_file(tmp_path)).collect())] == ["N1", "N2"]
    plain = tmp_path / "plain" / plain_name(name)
    plain.parent.mkdir()
    plain.write_text("\n".join(lines))
    assert rows(read_news(spark, tmp_path / name)) == rows(read_news(spark, plain))
    if name != plain.name:
        (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:-5])
        with pytest.raises(InputError, match=rf"{name}: cannot be read .*Fetch it again"):
            news_file(tmp_path)


def test_a_file_of_our_own_six_columns_may_hold_bodies(spark: SparkSession, tmp_path: Path) -> None:
    file = tmp_path / "articles.tsv"
    file.write_text(f"\nN1\tsport\tgolf\tTitle\tAbout it\tAll of it\n{MIND}\n")
    found = rows(read_news(spark, news_file(file)), "news_id", "title", "body")
    assert found == [("N1", "Title", "All of it"), (None, "", "")]


def test_json_lines_may_lack_fields_or_be_broken(spark: SparkSession, tmp_path: Path) -> None:
    file = tmp_path / "news.jsonl"
    lines = ["\ufeff" + json.dumps({"news_id": 7, "title": "T", "more": 1}), "not json", '{"title": "no id"}']
    file.write_bytes("\n".join(lines).encode() + b'\n{"news_id": "n\xff", "title": "t"}\n')
    found = rows(read_news(spark, file), "news_id", "title", "body")
    assert found == [("7", "T", ""), ("n\ufffd", "t", ""), (None, "", ""), (None, "no id", "")]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_place_follows_the_lines_of_a_file_that_is_read_in_pieces(
    spark: SparkSession, tmp_path: Path, end: str
) -> None:
    file = tmp_path / "news.tsv"
    lines = [f"{number}\t\t\t{'x' * (number % 90)}\t\t" for number in range(500)]
    file.write_bytes(end.join(["", *lines]).encode())
    news = read_news(spark, file, piece_bytes=300).select("place", "news_id").collect()  # some pieces hold no beginning
    assert [int(row["news_id"]) for row in sorted(news)] == list(range(500))


@given(st.lists(st.sampled_from([b"\n", b"\r", b"\r\n", b" ", b"ab", b"c" * 20])), st.integers(1, 40))
def test_pieces_hold_together_each_line_once_however_the_file_is_cut(parts: list[bytes], piece: int) -> None:
    content = b"".join(parts)
    found = [
        each
        for begin in range(0, len(content) + piece, piece)
        for each in lines_of(BytesIO(content), begin, begin + piece)
    ]
    assert [line for _, line in found] == [
        line for line in content.decode().replace("\r\n", "\n").replace("\r", "\n").split("\n") if line.strip(" ")
    ]
    assert [place for place, _ in found] == sorted({place for place, _ in found})


def test_the_file_is_found_in_a_folder_or_by_name(tmp_path: Path) -> None:
    file = tmp_path / "news.jsonl.gz"
    file.touch()
    assert news_file(tmp_path) == news_file(file) == file


def test_a_folder_without_news_or_with_two_is_an_error_with_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"news\.jsonl.*holds none. Name the file with --news"):
        news_file(tmp_path)
    (tmp_path / "news.jsonl").touch()
    (tmp_path / "news.tsv").touch()
    with pytest.raises(InputError, match=r"holds \['news.jsonl', 'news.tsv'\]"):
        news_file(tmp_path)
    with pytest.raises(InputError, match="no such file or folder"):
        news_file(tmp_path / "absent")
    (tmp_path / "news.csv").touch()
    with pytest.raises(InputError, match=r"Give .jsonl or .tsv"):
        news_file(tmp_path / "news.csv")


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
