from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipelines.ingest.parse.mapping import EACH, FIELDS, Extra, ListForm, LogMapping, mapping_of
from pipelines.ingest.parse.mapping_file import read_mapping
from schemas.errors import InputError
from tests.conftest import REPOSITORY

COLUMNS = '[columns]\nimpression_id = "i"\nuser_id = "u"\ntime = "t"\nshown = "s"\n'
LOG = '[log]\nformat = "jsonl"\nfiles = "*.json"\n'


def mapping_from(tmp_path: Path, text: str) -> LogMapping:
    (tmp_path / "m.toml").write_text(text)
    return read_mapping(tmp_path / "m.toml")


def test_each_example_can_be_read() -> None:
    examples = {path.stem: read_mapping(path) for path in (REPOSITORY / "jobs/presets/logs").glob("*.toml")}
    assert {name: mapping.format for name, mapping in examples.items()} == {
        "jsonl": "jsonl",
        "parquet": "parquet",
        "delta": "delta",
        "clicks": "jsonl",
    }
    assert examples["jsonl"].extra == {
        "device": Extra("event.device"),
        "read_seconds": Extra("payload.seconds", "double"),
    }


def test_history_and_clicks_may_be_absent(tmp_path: Path) -> None:
    assert set(mapping_from(tmp_path, LOG + COLUMNS).columns) == set(FIELDS) - {"history", "clicked"}


def test_a_log_of_clicks_alone_keeps_what_its_lines_lack(tmp_path: Path) -> None:
    text = LOG.replace("jsonl", "parquet") + 'clicked_as = "id"\n[columns]\nuser_id = "u"\ntime = "t"\nclicked = "c"\n'
    rows = mapping_from(tmp_path, text).of_rows(typed_time=True)
    assert set(rows.columns) == set(FIELDS) - {"impression_id", "shown"}
    assert (rows.clicked_as, mapping_of(rows.as_format)) == ("ids", rows)


def test_raw_log_format_holds_all_that_parsing_needs(tmp_path: Path) -> None:
    mapping = mapping_from(tmp_path, LOG + 'time_zone = "Europe/Oslo"\n' + COLUMNS + '[extra]\nx = "a.b"')
    again = mapping_of(mapping.as_format)
    assert (again.columns, again.extra, again.time_zone) == (mapping.columns, mapping.extra, "Europe/Oslo")
    assert again.as_format == mapping.as_format
    assert "\n" not in mapping.as_format
    assert "files" not in json.loads(mapping.as_format)


def test_a_format_of_an_older_feedloop_is_read(tmp_path: Path) -> None:
    old = '{"clicked_as":"marks","columns":{"impression_id":"e.i","shown":"s","time":"t","user_id":"u"},"extra":{"x":["a","long"]},"time_format":"iso","time_zone":"UTC"}'  # noqa: E501
    assert mapping_of(old).extra == {"x": Extra("a", "long")}
    assert (mapping_of(old).lists, mapping_of(old).as_format) == ({}, old)


LISTS = """history = { column = "h", split = " " }
shown = { column = "page.items", field = "news.id" }
"""


def test_lists_may_be_texts_or_hold_objects(tmp_path: Path) -> None:
    mapping = mapping_from(tmp_path, LOG + COLUMNS.replace('shown = "s"\n', LISTS))
    assert mapping.lists == {"history": ListForm(split=" "), "shown": ListForm(field="news.id")}
    assert mapping.paths["shown"] == ("page", "items", EACH, "news", "id")
    assert (mapping.is_list("history"), mapping.is_list("shown")) == (False, True)
    assert mapping_of(mapping.as_format).lists == mapping.lists
    assert mapping.of_rows(typed_time=True).lists == {
        "history": ListForm(split=" ")
    }  # texts are split when lines are parsed
    assert mapping.parsed.as_format == "jsonl"


def test_a_name_with_a_dot_stands_in_quotes_and_others_need_none(tmp_path: Path) -> None:
    columns = """[columns]
impression_id = '"a.b"."c d".e'
user_id = "user id"
time = "@timestamp"
shown = "Nyheter [vist]"
"""
    mapping = mapping_from(tmp_path, "\ufeff" + LOG + columns)
    assert mapping.paths == {
        "impression_id": ("a.b", "c d", "e"),
        "user_id": ("user id",),
        "time": ("@timestamp",),
        "shown": ("Nyheter [vist]",),
    }


def test_our_own_fields_need_no_mapping() -> None:
    assert LogMapping().as_format == "jsonl"
    assert mapping_of("jsonl") == LogMapping()
    assert LogMapping(format="parquet", files="*").of_rows(typed_time=True).as_format == "jsonl"


def test_rows_keep_what_their_lines_still_need() -> None:
    mapping = LogMapping(time_format="epoch_seconds", clicked_as="marks", extra={"x": Extra("a.b", "long")})
    kept = mapping.of_rows(typed_time=False)
    assert (kept.time_format, kept.clicked_as, kept.extra) == ("epoch_seconds", "marks", {"x": Extra("x", "long")})
    assert (mapping.parsed.time_format, mapping.parsed.clicked_as) == ("iso", "ids")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (LOG.replace("files", "file") + COLUMNS, r"unknown key log\.file\. The nearest is files"),
        (LOG + COLUMNS.replace("user_id", "userid"), r"unknown key columns\.userid\. The nearest is user_id"),
        (LOG + COLUMNS + "[extras]\n", r"unknown key extras\. The nearest is extra"),
        (LOG + COLUMNS + '[extra]\nx = {column = "a", kind = "long"}', r"unknown key extra\.x\.kind"),
        (LOG + COLUMNS + '[extra]\nx = {column = "a", type = "int"}', r"one of string, long, double, boolean"),
        (LOG + COLUMNS + '[extra]\ndate = "a"', r"\[extra\] date: use a name .* that no column of feedloop has"),
        (LOG + COLUMNS + '[extra]\nX = "a"', r"\[extra\] X"),
        (LOG + COLUMNS + "[extra]\nx = 5", r'write x = "column"'),
        (LOG + '[columns]\nuser_id = "u"\n', r"lacks time: name the column"),
        (LOG + '[columns]\nuser_id = "u"\ntime = "t"\n', r"lacks shown: name its column or, for a log of clicks alone"),
        (
            LOG + 'clicked_as = "marks"\n[columns]\nuser_id = "u"\ntime = "t"\nclicked = "c"\n',
            "'marks' of shown news, and .* lacks shown",
        ),
        (LOG + COLUMNS.replace('"s"', '"a..b"'), r"shown = 'a\.\.b': name a column"),
        (LOG + COLUMNS.replace('"s"', "5"), r"shown = 5: name a column"),
        (LOG + COLUMNS.replace('"s"', '"t.x"'), r"time = 't' holds 't\.x'"),
        (LOG + COLUMNS.replace('"s"', '"a."'), r"shown = 'a\.'.*double quotes"),
        (LOG + COLUMNS.replace('"s"', '{ column = "s" }'), r'columns\.shown: write shown = .* split = " "'),
        (
            LOG + COLUMNS.replace('"s"', '{ column = "s", spilt = " " }'),
            r"columns\.shown\.spilt\. .* split",
        ),
        (LOG + COLUMNS.replace('"s"', '{ column = "s", split = " ", field = "x" }'), r"give split .* or field"),
        (LOG + COLUMNS.replace('"s"', '{ column = "s", split = 1 }'), r"give split .* or field"),
        (LOG + COLUMNS.replace('"s"', '{ column = "s", field = "a..b" }'), r"shown\.field is 'a\.\.b'"),
        (LOG + COLUMNS.replace('"u"', '{ column = "u", split = " " }'), r"columns\.user_id is a single value"),
        (LOG + COLUMNS.replace('"s"', '"u"'), r"user_id and shown are both 'u': one of them is a list"),
        (LOG + 'clicked_as = "suffixes"\n' + COLUMNS + 'clicked = "c"', r"leave clicked out of \[columns\]"),
        (LOG.replace("jsonl", "csv") + COLUMNS, r"log\.format is 'csv': it is one of jsonl, parquet, delta"),
        (LOG + 'time_format = "iso8601"\n' + COLUMNS, r"log\.time_format is 'iso8601'.*yyyy-MM-dd"),
        (LOG + 'time_zone = "Mars/Base"\n' + COLUMNS, r"log\.time_zone is 'Mars/Base'.*Europe/Berlin"),
        (
            LOG + 'clicked_as = "id"\n' + COLUMNS + 'clicked = { column = "c", split = " " }\n',
            "leave split and field out of clicked",
        ),
        (LOG + 'clicked_as = "bits"\n' + COLUMNS, r"one of ids, id, marks, suffixes"),
        (LOG + "time_zone = 1\n" + COLUMNS, r"\[log\] time_zone: write a text in quotes"),
        ('[log]\nformat = "jsonl"\n' + COLUMNS, "unless that is delta, files"),
        (LOG.replace("jsonl", "delta") + COLUMNS, "unless that is delta"),
        ("log = 5\n" + COLUMNS, r"log is a table: write \[log\]"),
        ("[log\n", "no TOML"),
    ],
)
def test_a_wrong_mapping_says_what_is_wrong(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        mapping_from(tmp_path, text)
    assert "m.toml" in str(caught.value)


def test_a_missing_file_is_named_with_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.toml: there is no such file.*jobs/presets/logs"):
        read_mapping(tmp_path / "none.toml")
