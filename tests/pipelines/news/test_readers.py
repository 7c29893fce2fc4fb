from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from pipelines.news.readers import news_file, read_lines, with_columns
from schemas.errors import InputError
from tests.builders import rows

MIND = 'N1\tsport\tgolf\tA "quote" that never ends\tAbout it\thttps://x\t[]\t[]'


def test_mind_lines_are_read_without_quoting(spark: SparkSession, tmp_path: Path) -> None:
    file = tmp_path / "news.tsv.gz"
    cut = MIND.removesuffix("\t[]\t[]")  # six columns in a file of eight
    file.write_bytes(gzip.compress(f"{MIND}\n\nN2\ttoo few\n{cut}\n".encode()))
    found = rows(with_columns(read_lines(spark, file), file).drop("place"))
    assert found == [("N1", "sport", "golf", 'A "quote" that never ends', "About it", ""), *[(*[None] * 5, "")] * 2]


def test_a_file_of_our_own_six_columns_may_hold_bodies(spark: SparkSession, tmp_path: Path) -> None:
    file = tmp_path / "articles.tsv"
    file.write_text(f"\nN1\tsport\tgolf\tTitle\tAbout it\tAll of it\n{MIND}\n")
    found = rows(with_columns(read_lines(spark, news_file(file)), file), "news_id", "title", "body")
    assert found == [("N1", "Title", "All of it"), (None, None, None)]


def test_json_lines_may_lack_fields_or_be_broken(spark: SparkSession, tmp_path: Path) -> None:
    file = tmp_path / "news.jsonl"
    lines = ["\ufeff" + json.dumps({"news_id": 7, "title": "T", "more": 1}), "not json", '{"title": "no id"}']
    file.write_bytes("\n".join(lines).encode() + b'\n{"news_id": "n\xff", "title": "t"}\n')
    found = rows(with_columns(read_lines(spark, file), file), "news_id", "title", "body")
    assert found == [("7", "T", None), ("n\ufffd", "t", None), (None, "no id", None), (None, None, None)]


def test_place_follows_the_lines_of_a_file_that_is_read_in_parts(spark: SparkSession, tmp_path: Path) -> None:
    file = tmp_path / "news.jsonl"
    file.write_text("".join(f"{number}\n" for number in range(2000)))
    name = "spark.sql.files.maxPartitionBytes"
    before = spark.conf.get(name)
    spark.conf.set(name, "1000")
    try:
        lines = read_lines(spark, file)
        assert lines.rdd.getNumPartitions() > 1
        assert [int(row["value"]) for row in lines.orderBy("place").collect()] == list(range(2000))
    finally:
        spark.conf.set(name, str(before))


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
