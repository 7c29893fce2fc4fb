from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from jobs.cli.command_line import run
from jobs.ingest import ingest
from jobs.maintain import maintain
from pipelines.lake.tables import Lake
from schemas.news import NEWS
from tests.builders import json_line, write_logs


def test_tables_and_their_history_are_printed_and_reported_as_json(
    spark: SparkSession, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lake = Lake(spark, str(tmp_path / "lake"))
    lake.create(NEWS)
    assert run(maintain, ["--lake", lake.root, "--retention-days", "8", "--history-rows", "2"]) == 0
    *screen, last = capsys.readouterr().out.splitlines()
    assert "news" in "\n".join(screen)
    assert "CREATE" in "\n".join(screen)
    reported = json.loads(last)
    assert reported["tables"]["news"]["before"] | {"version": 0, "bytes_in_folder": 0} == {
        "version": 0,
        "files": 0,
        "bytes": 0,
        "rows": 0,
        "bytes_in_folder": 0,
    }
    assert [commit["operation"] for commit in reported["history"]["news"]] == ["SET TBLPROPERTIES", "CREATE TABLE"]
    assert (reported["inputs"], reported["outputs"]) == ({"news": 0}, {"news": 1})
    assert len(list((tmp_path / "lake" / "_versions" / "maintain").glob("*.json"))) == 1


def test_what_storing_each_history_once_saves_is_reported(
    spark: SparkSession, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [json_line(str(at), time=f"2026-03-02T10:{at:02}:00Z", history=["n1", "n2"]) for at in range(5)]
    logs = write_logs(tmp_path / "logs", {"a.jsonl": lines})
    ingest(logs=str(logs), lake=str(tmp_path / "lake"))
    assert run(maintain, ["--lake", str(tmp_path / "lake"), "--history-bytes"]) == 0
    *screen, last = capsys.readouterr().out.splitlines()
    assert re.search(
        r"Histories once: \d+ kB\. In every impression: \d+ kB unsorted, \d+ kB sorted by user", "\n".join(screen)
    )
    assert json.loads(last)["histories"]["unsorted"] > 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--retention-days", "3"], "Use 7 or more; or, when nobody reads or writes this lake, add --below-safe"),
        ([], "there is no table of feedloop. Name the folder that ingest wrote with --lake"),
    ],
)
def test_what_cannot_be_done_is_one_message_and_exit_code_2(
    spark: SparkSession, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    assert run(maintain, ["--lake", str(tmp_path / "lake"), *options]) == 2
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
