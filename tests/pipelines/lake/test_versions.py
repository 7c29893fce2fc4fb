"""Versions that a job read and wrote, and the lake as it was at them."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pipelines.lake.tables import Lake
from schemas.errors import InputError
from schemas.news import NEWS
from schemas.raw_log import INGEST_RUNS
from tests.builders import rows
from tests.lakes import WORDS, words


def say(lake: Lake, word: str, version: int) -> None:
    lake.append(WORDS, words(lake, ("en", word, [1])), app_id="test", app_version=version)


def report_files(lake: Lake) -> list[Path]:
    return sorted((Path(lake.root) / "_versions" / "pack").glob("*.json"))


def test_a_report_is_written_below_the_lake_and_returned(lake: Lake) -> None:
    for version in (3, 4):
        reported = lake.report("pack", inputs={"words": version}, outputs={})
        assert reported == {"inputs": {"words": version}, "outputs": {}}
    files = report_files(lake)
    assert [json.loads(file.read_text())["inputs"] for file in files] == [{"words": 3}, {"words": 4}]
    assert json.loads(files[0].read_text())["job"] == "pack"


def test_a_read_as_of_a_report_gives_what_was_read_then(lake: Lake) -> None:
    say(lake, "a", 1)
    lake.note(WORDS, "made_from", "one")
    lake.report("pack", inputs={"words": lake.version(WORDS)}, outputs={})
    say(lake, "b", 2)
    lake.note(WORDS, "made_from", "two")
    then = lake.as_of(lake.versions_from(str(report_files(lake)[0])))
    assert (rows(then.read(WORDS), "word"), then.version(WORDS), then.notes(WORDS)) == (
        [("a",)],
        2,
        {"made_from": "one"},
    )
    assert rows(lake.read(WORDS), "word") == [("a",), ("b",)]
    assert then.table_id(WORDS) == lake.table_id(WORDS)


def test_what_a_job_wrote_counts_before_what_it_read(lake: Lake) -> None:
    lake.report("pack", inputs={"words": 3, "news": 1}, outputs={"words": 4})
    assert lake.versions_from(str(report_files(lake)[0])) == {"words": 4, "news": 1}


def run_row(lake: Lake, batch: int) -> None:
    values = {"string": "'p'", "long": "0L", "timestamp": "current_timestamp()"}
    row = {column.name: values[column.dtype] for column in INGEST_RUNS.columns} | {"batch": f"{batch}L"}
    frame = lake.spark.sql("SELECT " + ", ".join(f"{value} AS {name}" for name, value in row.items()))
    lake.append(INGEST_RUNS, frame, app_id="test", app_version=batch)


def test_a_time_means_each_table_as_it_was_then(lake: Lake) -> None:
    run_row(lake, 1)
    time.sleep(0.05)
    then = datetime.now(UTC)
    time.sleep(0.05)
    run_row(lake, 2)
    lake.create(NEWS)
    versions = lake.versions_from(then.isoformat())
    assert versions == {"ingest_runs": lake.version(INGEST_RUNS) - 1}
    assert rows(lake.as_of(versions).read(INGEST_RUNS), "batch") == [(1,)]
    local = then.astimezone().replace(tzinfo=None) if then.astimezone().utcoffset() == timedelta(0) else None
    assert local is None or lake.versions_from(str(local)) == versions  # without a zone it is UTC
    assert lake.versions_from("2000-01-01") == {}


def test_tables_that_are_not_named_are_not_there(lake: Lake) -> None:
    lake.create(NEWS)
    then = lake.as_of({"words": 1})
    assert not then.exists(NEWS)
    with pytest.raises(InputError, match=r"--as-of names no version of table news, only of \['words'\]"):
        then.read(NEWS)


def test_a_version_that_is_not_there_says_which_are(lake: Lake) -> None:
    say(lake, "a", 1)
    for look in (lake.as_of({"words": 9}).read, lake.as_of({"words": 9}).version):
        with pytest.raises(InputError, match="version 9 of table words cannot be read; 0 to 1 can"):
            look(WORDS)


@pytest.mark.parametrize("text", ["", "[]", '{"inputs": {}}', '{"inputs": {"a": "x"}, "outputs": {}}'])
def test_a_file_without_versions_is_an_error_with_the_way_out(lake: Lake, tmp_path: Path, text: str) -> None:
    file = tmp_path / "versions.json"
    file.write_text(text)
    with pytest.raises(InputError, match=r"this is no file of table versions.*or a time such as"):
        lake.versions_from(str(file))


def test_a_missing_versions_file_is_an_error_that_names_it(lake: Lake) -> None:
    with pytest.raises(InputError, match=r"--as-of yesterday: there is no such file, and.*or a time such as"):
        lake.versions_from("yesterday")
