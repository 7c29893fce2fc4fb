"""Rows by age: what is too old leaves, all else stays, and ingest goes on as if nothing had happened."""

from __future__ import annotations

from datetime import UTC, date, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from pipelines.histories import with_history
from pipelines.ingest import flow
from pipelines.ingest.config import IngestConfig
from pipelines.ingest.discover.sources import find_new, log_paths
from pipelines.ingest.flow import ingest_logs
from pipelines.ingest.replay.flow import replay_logs
from pipelines.lake.tables import Lake
from pipelines.maintain.flow import MaintenanceConfig, maintain_lake
from pipelines.maintain.retention import ExpiryConfig, expire
from schemas.errors import InputError
from schemas.impression import ALIASES, HISTORIES, IMPRESSIONS
from schemas.raw_log import RAW_LOG, REJECTS
from tests.builders import Line, json_line, rows, write_logs

TODAY = date(2026, 3, 11)
OLD: list[Line] = [
    json_line("1", user_id="gone", history=["n7"], time="2026-03-01T08:00:00Z"),
    json_line("1b", user_id="gone", history=["n7"], time="2026-03-01T08:00:00Z"),
    json_line("2", user_id="both", time="2026-03-01T09:00:00Z"),
    "no line at all",
]
NEW: list[Line] = [
    json_line("3", user_id="both", history=["n1", "n2", "n3"], time="2026-03-09T09:00:00Z"),
    json_line("4", user_id="late", time="2026-03-09T09:00:00Z"),
    json_line("4b", user_id="late", time="2026-03-09T09:00:00Z"),
    "nor this",
]


def add(lake: Lake, logs: Path, day: int) -> dict[str, Any]:
    find = partial(find_new, log_paths(logs, "auto", None), logs, None)
    arrived = datetime(2026, 3, day, tzinfo=UTC)
    return ingest_logs(lake, find, source="p", arrived_at=arrived, max_reject_share=1.0)


@pytest.fixture
def aged(spark: SparkSession, tmp_path: Path) -> Lake:
    """Lines of two days, the first of them ten days old."""
    lake = Lake(spark, str(tmp_path / "lake"))
    add(lake, write_logs(tmp_path, {"1.jsonl": OLD}), 2)
    add(lake, write_logs(tmp_path, {"2.jsonl": NEW}), 10)
    return lake


def test_each_table_loses_what_is_older_than_its_own_days(aged: Lake) -> None:
    later = rows(aged.read(RAW_LOG).where("batch = 2"))
    assert expire(aged, ExpiryConfig(raw_log_days=5), TODAY) == {"raw_log": 4}
    assert rows(aged.read(RAW_LOG)) == later
    assert (aged.read(REJECTS).count(), aged.read(IMPRESSIONS).count()) == (2, 4)
    assert expire(aged, ExpiryConfig(rejects_days=1, raw_log_days=5), TODAY) == {"raw_log": 0, "rejects": 1}
    assert rows(aged.read(REJECTS), "line") == [("nor this",)]


def test_impressions_go_with_their_aliases_and_the_histories_of_those_who_have_none(aged: Lake) -> None:
    before = rows(aged.read(IMPRESSIONS).where("date > DATE '2026-03-08'"))
    lost = expire(aged, ExpiryConfig(impressions_days=7), TODAY)
    assert lost == {"impressions": 2, "aliases": 1, "histories": 1}
    assert rows(aged.read(IMPRESSIONS)) == before
    assert rows(aged.read(ALIASES), "impression_id") == [("4b",)]
    assert rows(aged.read(HISTORIES).select("user_id").distinct()) == [("both",), ("late",)]
    complete = with_history(aged.read(IMPRESSIONS), aged.read(HISTORIES))
    assert rows(complete.select("impression_id", F.concat_ws(" ", "history"))) == [("3", "n1 n2 n3"), ("4", "n1 n2")]
    versions = aged.versions((IMPRESSIONS, ALIASES, HISTORIES))
    assert expire(aged, ExpiryConfig(impressions_days=7), TODAY) == dict.fromkeys(lost, 0)
    assert aged.versions((IMPRESSIONS, ALIASES, HISTORIES)) == versions


def test_no_file_is_read_again_and_an_old_line_in_a_new_file_is_a_new_line(aged: Lake, tmp_path: Path) -> None:
    expire(aged, ExpiryConfig(raw_log_days=5, rejects_days=5, impressions_days=7), TODAY)
    assert add(aged, tmp_path, 11)["new_files"] == 0
    again = add(aged, write_logs(tmp_path, {"3.jsonl": OLD}), 11)
    assert (again["impressions"], again["double_logged"], again["rejected"]) == (2, 1, 1)
    assert expire(aged, ExpiryConfig(impressions_days=7), TODAY)["impressions"] == 2


def test_a_replay_of_lines_that_are_gone_changes_nothing_and_says_why(aged: Lake) -> None:
    expire(aged, ExpiryConfig(raw_log_days=5), TODAY)
    with pytest.raises(InputError, match=r"holds 0 lines of batch 1 of p, which had 4.*--raw-log-days are lost"):
        replay_logs(aged, IngestConfig(max_reject_share=1.0), source="p")


def test_lines_of_a_batch_that_was_stopped_wait_for_ingest(
    aged: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(flow, "_write_batch", stopped)
        with pytest.raises(KeyboardInterrupt):
            add(aged, write_logs(tmp_path, {"4.jsonl": OLD}), 3)
    with pytest.raises(InputError, match=r"batch 3 of p is in raw_log and not yet.*Run \./feedloop ingest first"):
        expire(aged, ExpiryConfig(raw_log_days=5), TODAY)
    add(aged, tmp_path, 11)
    assert expire(aged, ExpiryConfig(raw_log_days=5), TODAY) == {"raw_log": 8}


def test_maintain_reports_the_number_of_removed_rows(aged: Lake) -> None:
    found = maintain_lake(aged, MaintenanceConfig(), ExpiryConfig(rejects_days=5))
    assert found["rejects"]["expired"] == 2  # all are older by now
    assert found["rejects"]["after"]["rows"] == 0
    with pytest.raises(InputError, match=r"rejects_days is 0: give 1 or more days"):
        ExpiryConfig(rejects_days=0)
