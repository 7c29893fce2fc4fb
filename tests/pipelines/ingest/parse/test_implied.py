"""Logs of clicks alone, and logs without impression ids."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession

from jobs.cli.command_line import run
from jobs.demo_spark import demo_spark
from jobs.ingest import ingest
from pipelines.ingest.discover.sources import find_logs
from pipelines.ingest.parse.lines import PARSED_FIELDS, with_parsed
from pipelines.ingest.parse.mapping import LogMapping
from pipelines.ingest.read.readers import raw_lines
from pipelines.lake.tables import Lake
from schemas.impression import IMPRESSIONS
from tests.builders import json_line, raw_logs, rows, write_logs

NINE = datetime(2026, 3, 2, 9, 15, 31)
CLICKS = {"user_id": "user", "time": "at", "clicked": "news"}
NAMES = [name for name in PARSED_FIELDS if name not in ("impression_id", "history")]


def parsed_rows(spark: SparkSession, mapping: LogMapping, *lines: dict[str, Any]) -> list[tuple[Any, ...]]:
    raw = raw_logs(spark, *map(json.dumps, lines), format=mapping.as_format)
    return rows(with_parsed(raw, mapping.as_format).orderBy("position"), "position", *NAMES, "reason")


def test_a_click_shows_what_was_clicked(spark: SparkSession) -> None:
    mapping = LogMapping(columns=CLICKS, clicked_as="id")
    at = "2026-03-02T09:15:31Z"
    lines = [
        {"user": "u", "at": at, "news": "n1"},
        {"user": "u", "at": at, "news": 7},
        {"user": "u", "at": at, "news": None},
        {"user": "u", "at": "soon", "news": "n1"},
        {"user": "u", "at": at, "news": ["n1", "n2"]},
    ]
    assert parsed_rows(spark, mapping, *lines) == [
        (0, "u", NINE, ["n1"], ["n1"], None),
        (1, "u", NINE, ["7"], ["7"], None),
        (2, "u", NINE, None, None, "missing_field"),
        (3, "u", None, ["n1"], ["n1"], "bad_time"),
        (4, "u", NINE, ['["n1","n2"]'], ['["n1","n2"]'], "missing_field"),
    ]
    assert parsed_rows(spark, LogMapping(columns=CLICKS), lines[4], lines[0]) == [
        (0, "u", NINE, ["n1", "n2"], ["n1", "n2"], None),
        (1, "u", NINE, None, None, "missing_field"),
    ]


def test_an_id_is_made_of_time_and_news_where_a_log_has_none(spark: SparkSession) -> None:
    mapping = LogMapping(columns={name: name for name in ("user_id", "time", "shown", "clicked")})
    later = "2026-03-02T09:15:32Z"
    lines = [
        json_line(),
        json_line(shown=["n4", "n3", "n3"], clicked=[]),
        json_line(user_id="u2"),
        json_line(shown=["n3", "n5"]),
        json_line(time=later),
    ]
    raw = raw_logs(spark, *lines, format=mapping.as_format)
    first, again, other_user, other_news, other_time = (
        id for _, id in rows(with_parsed(raw, mapping.as_format), "position", "impression_id")
    )
    assert first == again == other_user
    assert len({first, other_news, other_time}) == 3
    assert all(len(id) == 16 and int(id, 16) >= 0 for id in (first, other_news, other_time))


def test_rows_of_clicks_are_read_from_parquet(spark: SparkSession, tmp_path: Path) -> None:
    table = pa.table({"user": ["u", "u"], "at": [1772442931000, 1772442931000], "news": [157541, None]})
    pq.write_table(table, tmp_path / "clicks.parquet")
    mapping = LogMapping(
        columns=CLICKS, format="parquet", files="*.parquet", time_format="epoch_milliseconds", clicked_as="id"
    )
    found = find_logs(tmp_path, mapping=mapping)
    lines = raw_lines(spark, found.files).selectExpr("*", "TIMESTAMP '2026-03-10' AS arrived_at")
    frame = with_parsed(lines, found.files[0].lines_format)
    assert rows(frame, "position", *NAMES, "reason") == [
        (0, "u", NINE, ["157541"], ["157541"], None),
        (1, "u", NINE, None, None, "missing_field"),
    ]


def test_a_click_counts_once_and_a_users_other_clicks_stay_others(spark: SparkSession, tmp_path: Path) -> None:
    mapping = tmp_path / "clicks.toml"
    mapping.write_text(
        '[log]\nformat = "jsonl"\nfiles = "logs/*.jsonl"\nclicked_as = "id"\n'
        '[columns]\nuser_id = "user"\ntime = "at"\nclicked = "news"\n'
    )
    at, lines = "2026-03-02T09:15:31Z", []
    for user, news in (("u", "n1"), ("u", "n1"), ("u", "n2"), ("v", "n1")):
        lines.append(json.dumps({"user": user, "at": at, "news": news}))
    logs = write_logs(tmp_path, {"1.jsonl": lines, "2.jsonl": [lines[0].replace(":31Z", ":40Z"), lines[3]]})
    options = ["--logs", str(logs), "--lake", str(tmp_path / "lake"), "--mapping", str(mapping)]
    (tmp_path / "key").write_text("k" * 32)
    options += ["--user-key-file", str(tmp_path / "key")]  # lines are written again, with the ids made before
    assert run(ingest, options) == 0
    table = Lake(spark, str(tmp_path / "lake")).read(IMPRESSIONS)
    found = [(shown, clicked) for shown, clicked in rows(table, "shown", "clicked")]
    assert found == [(["n1"], [True])] * 3 + [(["n2"], [True])]
    assert table.select("user_id").distinct().count() == 2


def test_the_demo_stops_at_logs_of_which_every_line_is_refused(
    spark: SparkSession, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [json_line("1", time="1970-01-04T15:55:49"), json_line("2", shown=[]), json_line("3", time="late")]
    data = write_logs(tmp_path / "movies", {"a.jsonl": lines})
    (data / "news.jsonl").write_text(json.dumps({"news_id": "n3", "title": "One"}) + "\n")
    for _ in range(2):  # a second run finds no new files, and the same reason
        assert run(demo_spark, ["--data", str(data), "--out", str(tmp_path / "out")]) == 2
        message = capsys.readouterr().err
        assert "all 3 lines of its logs were refused" in message
        assert "The first is logs/a.jsonl, line 1, " in message
        assert "ingest --mapping" in message
    assert not (tmp_path / "out" / "lake" / "news").exists()
