"""Forgotten users leave no trace in a lake, and everybody else's rows stay as they were."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from pipelines.delta.table_ddl import TABLES
from pipelines.forget import erase_rows as erasing
from pipelines.forget.erase_rows import ERASED, KEPT
from pipelines.forget.flow import forget_users
from pipelines.forget.requested_users import RequestedUser
from pipelines.ingest.config import IngestConfig
from pipelines.ingest.discover.sources import find_new, log_paths
from pipelines.ingest.discover.table_log import table_log
from pipelines.ingest.flow import ingest_logs
from pipelines.ingest.replay.flow import replay_logs
from pipelines.lake.tables import Lake
from pipelines.maintain.erased_versions import FILES_KEPT
from pipelines.maintain.flow import MaintenanceConfig, maintain_lake
from pipelines.session import is_embedded, spark_uri
from schemas.as_spark import spark_schema
from schemas.erasure import ERASURES, SUPPRESSIONS
from schemas.errors import InputError
from schemas.impression import HISTORIES, IMPRESSIONS
from schemas.raw_log import INGEST_RUNS, RAW_LOG, REJECTS
from schemas.trajectory import EVALUATION, TRAJECTORIES
from tests.builders import Line, json_line, rows, write_logs
from tests.traces import traces

GONE = "victim-7f3a"
FIRST, SECOND = (datetime(2026, 3, day, tzinfo=UTC) for day in (9, 10))
OF_VICTIM: list[Line] = [
    json_line("v1", user_id=GONE),
    json_line("v1", user_id=GONE),
    json_line("v2", user_id=GONE, time="2026-03-04T09:00:00Z", history=["n1", "n2", "n3"]),
    json_line("v3", user_id=GONE, shown=[]),  # refused, though it names its user
    json_line("v4", user_id=GONE)[:-10],  # cut off
    b'{"impression_id": "v5", "user_id": "' + GONE.encode() + b'", \xff',
    f"GET /click?uid={GONE}&item=n1 HTTP/1.1",
    json_line("v6", user_id=GONE).replace("victim", "\\u0076ictim"),
]
OF_OTHERS: list[Line] = [
    json_line("1", user_id="aaa"),
    json_line("1b", user_id="aaa"),  # the same view under another id
    json_line("2", user_id="zzz", history=["n1"], time="2026-03-04T10:00:00Z"),
    json_line("3", user_id=GONE + "b"),  # another user
    json_line("4", user_id="zzz", shown=[]),
    "no line at all",
]


def add(lake: Lake, folder: Path, name: str, lines: Sequence[Line], **more: Any) -> dict[str, Any]:
    logs = write_logs(folder / "logs of", {name: lines})
    find = partial(find_new, log_paths(logs, "auto", None), logs, None)
    how: dict[str, Any] = {"source": "publisher", "arrived_at": SECOND, "max_reject_share": 1.0}
    return ingest_logs(lake, find, **(how | more))


@pytest.fixture(scope="module")
def complete(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lake with rows of the victim in every table that can have some, in two batches and two sources."""
    folder = tmp_path_factory.mktemp("complete")
    lake = Lake(spark, str(folder / "lake"))
    add(lake, folder / "a", "a.jsonl", [*OF_OTHERS, *OF_VICTIM[:4]], arrived_at=FIRST)
    add(lake, folder / "b", "b.jsonl", [*OF_VICTIM, json_line("v1", user_id=GONE, time="2026-03-02T12:00:00Z")])
    add(lake, folder / "c", "c.jsonl", [*OF_OTHERS, *OF_VICTIM], source="other")
    time = datetime(2026, 3, 5, tzinfo=UTC)
    users = [(source, user) for source in ("publisher", "other") for user in (GONE, "aaa")]
    windows = [(*at, 0, time, [1], [0], [[1, 2]], [1.0], [True], 0) for at in users]
    lake.overwrite(TRAJECTORIES, spark.createDataFrame(windows, spark_schema(TRAJECTORIES)))
    done = [(s, "v9", u, time, [1], [1, 2], ["n1", "n2"], [True, False], *[None] * 6) for s, u in users]
    lake.overwrite(EVALUATION, spark.createDataFrame(done, spark_schema(EVALUATION)))
    return folder


@pytest.fixture
def folder(complete: Path, tmp_path: Path) -> Path:
    shutil.copytree(complete, tmp_path / "complete")
    return tmp_path / "complete"


@pytest.fixture
def lake(spark: SparkSession, folder: Path) -> Lake:
    return Lake(spark, str(folder / "lake"))


def others(lake: Lake) -> dict[str, list[Any]]:
    """Everybody else's rows of all tables of users, and the run records of the sources that are not asked for."""
    theirs = {
        table.name: rows(lake.read(table).where(F.col("user_id") != GONE))
        for table in ERASED
        if "user_id" in table.column_names
    }
    lines = {line if isinstance(line, bytes) else line.encode() for line in OF_VICTIM}
    lines.add(json_line("v1", user_id=GONE, time="2026-03-02T12:00:00Z").encode())
    theirs["raw_log"] = [row for row in rows(lake.read(RAW_LOG)) if bytes(row[3]) not in lines]
    texts = {line.decode("utf-8", "replace") for line in lines}
    theirs["rejects"] = [row for row in rows(lake.read(REJECTS)) if row[3] not in texts]
    return theirs


def counts(lake: Lake) -> dict[str, int]:
    return {table.name: lake.read(table).count() for table in ERASED}


def test_every_table_is_decided() -> None:
    assert {table.name for table in TABLES} == {table.name for table in ERASED} | KEPT.keys()
    held = {table.name for table in TABLES if {"user_id", "line"} & {*table.column_names}}
    assert held == {table.name for table in ERASED}


def test_nothing_is_left_of_a_forgotten_user_and_all_of_the_others(lake: Lake, folder: Path) -> None:
    assert len(traces(Path(lake.root), GONE + "(?!b)")) > 10
    kept, before = others(lake), counts(lake)
    assert all(len(table) for table in kept.values())
    done = forget_users(lake, [RequestedUser(GONE, None)], at_once=True)
    assert (done["asked"], done["found"], done["not_found"]) == (1, 1, 0)
    assert done["rows_erased"] == {name: count - len(kept[name]) for name, count in before.items()}
    assert done["rows_erased"]["raw_log"] == 4 + 9 + 8
    assert others(lake) == kept
    assert counts(lake) == {name: len(table) for name, table in kept.items()}
    assert traces(Path(lake.root), GONE + "(?!b)") == []
    assert len(traces(Path(lake.root), GONE + "b")) > 3  # another user, whose id begins alike


def test_what_is_delivered_again_stays_out(lake: Lake, folder: Path) -> None:
    forget_users(lake, [RequestedUser(GONE, None)], at_once=True)
    kept = others(lake)
    again = add(lake, folder / "d", "new name.jsonl", OF_VICTIM)
    assert (again["lines"], again["suppressed"], again["rejected"]) == (0, len(OF_VICTIM), 0)
    more = add(lake, folder / "e", "e.jsonl", [*OF_VICTIM, json_line("9", user_id="yyy")])
    assert (more["lines"], more["suppressed"], more["impressions"]) == (1, len(OF_VICTIM), 1)
    replay_logs(lake, IngestConfig(max_reject_share=1.0), source="publisher")
    found = others(lake)
    assert {name: len(found[name]) - len(kept[name]) for name in kept} == {
        "raw_log": 1,
        "rejects": 0,
        "impressions": 1,
        "aliases": 0,
        "histories": 1,
        "trajectories": 0,
        "evaluation": 0,
    }
    assert counts(lake) == {name: len(table) for name, table in found.items()}
    runs = lake.read(INGEST_RUNS).where("source = 'publisher'")
    assert rows(runs, "batch", "lines", "suppressed", "forgotten") == [
        (1, 6, 4, None), (2, 0, 9, None), (3, 0, 8, None), (4, 1, 8, None)
    ]  # fmt: skip


def test_a_second_time_nothing_is_written(lake: Lake) -> None:
    forget_users(lake, [RequestedUser(GONE, None)])
    versions = lake.versions(TABLES)
    done = forget_users(lake, [RequestedUser(GONE, None)])
    assert lake.versions(TABLES) == versions
    assert (done["found"], done["forgotten_before"], done["not_found"]) == (0, 1, 0)
    assert sum(done["rows_erased"].values()) == 0


def test_users_whom_the_lake_does_not_know_are_counted_and_kept_out_too(lake: Lake, folder: Path) -> None:
    kept = others(lake)
    done = forget_users(
        lake, [RequestedUser("nobody", None), RequestedUser(GONE, "other"), RequestedUser("n-1", "other")]
    )
    assert (done["asked"], done["found"], done["not_found"], done["forgotten_before"]) == (3, 1, 2, 0)
    assert rows(lake.read(SUPPRESSIONS), "source", "found") == [
        ("other", False), ("other", False), ("other", True), ("publisher", False)
    ]  # fmt: skip
    assert (
        lake.read(IMPRESSIONS).where(F.col("user_id") == GONE).select("source").distinct().collect()[0][0]
        == "publisher"
    )
    assert others(lake) == kept
    late = add(lake, folder / "d", "d.jsonl", [json_line("1", user_id="nobody"), json_line("1", user_id="n-1")])
    assert (late["lines"], late["suppressed"]) == (1, 1)  # n-1 is another user's id in this source


def test_a_reader_of_old_versions_has_until_the_retention_ends(lake: Lake) -> None:
    before = lake.version(HISTORIES)
    done = forget_users(lake, [RequestedUser(GONE, None)])
    assert done["removed"] == []
    assert (datetime.fromisoformat(done["removable_from"]) - datetime.now(UTC)).days in (6, 7)
    maintain_lake(lake, MaintenanceConfig())
    assert lake.read(HISTORIES, version=before).where(F.col("user_id") == GONE).count() > 0
    assert traces(Path(lake.root), GONE + "(?!b)")
    assert lake.read(ERASURES).where("removed_at IS NULL").count() == 14
    maintain_lake(lake, MaintenanceConfig(retention_days=0, below_safe_retention=True))
    assert traces(Path(lake.root), GONE + "(?!b)") == []
    assert lake.read(ERASURES).where("removed_at IS NULL").count() == 0


def test_maintain_removes_old_versions_and_their_log_once_the_tables_own_retention_has_passed(lake: Lake) -> None:
    for table in ERASED:
        lake.set_properties(table, {FILES_KEPT: "interval 0 days"})
    forget_users(lake, [RequestedUser(GONE, None)])
    assert traces(Path(lake.root), GONE + "(?!b)")
    maintain_lake(lake, MaintenanceConfig())
    assert traces(Path(lake.root), GONE + "(?!b)") == []
    assert lake.read(ERASURES).where("removed_at IS NULL").count() == 0


def test_files_of_writers_that_were_killed_go_too(lake: Lake) -> None:
    some = next(Path(lake.path(RAW_LOG)).rglob("*.parquet"))
    left = some.with_name("part-left-by-a-kill.parquet")
    shutil.copy(some, left)
    (Path(lake.root) / "_scratch" / "x").mkdir(parents=True)
    shutil.copy(some, Path(lake.root) / "_scratch" / "x" / "y.parquet")
    forget_users(lake, [RequestedUser(GONE, None)], at_once=True)
    assert not left.exists()
    assert traces(Path(lake.root), GONE + "(?!b)") == []


def test_rows_that_are_only_marked_as_deleted_go_from_their_files(lake: Lake) -> None:
    if is_embedded(lake.spark):
        pytest.skip("only Spark marks rows as deleted")
    kept = others(lake)
    for table, rule in ((IMPRESSIONS, "impression_id = 'v2'"), (HISTORIES, "size(clicks) = 3")):
        lake.create(table)
        of_victim = f"source = 'publisher' AND user_id = '{GONE}' AND {rule}"
        lake.spark.sql(f"DELETE FROM delta.`{spark_uri(lake.path(table))}` WHERE {of_victim}")
        assert any(len(file.deleted) for file in table_log(lake.path(table)).files)
    forget_users(lake, [RequestedUser(GONE, None)], at_once=True)
    assert others(lake) == kept
    assert not any(len(file.deleted) for table in ERASED for file in table_log(lake.path(table)).files)
    assert traces(Path(lake.root), GONE + "(?!b)") == []


def test_an_audit_is_kept_of_what_each_table_lost(lake: Lake) -> None:
    done = forget_users(lake, [RequestedUser(GONE, None)])
    found = rows(lake.read(ERASURES).groupBy("table_name").agg(F.sum("rows_erased")))
    assert dict(found) == done["rows_erased"]
    for table in ERASED:
        before, after = (
            lake.read(table, version=done["versions"][table.name][end]).count() for end in ("before", "after")
        )
        assert before - after == done["rows_erased"][table.name]
    for row in lake.read(ERASURES).where("source = 'publisher'").collect():
        table = next(table for table in ERASED if table.name == row["table_name"])
        before, after = (
            lake.read(table, version=row[name]).where("source = 'publisher'").count()
            for name in ("version_before", "version_after")
        )
        assert before - after == row["rows_erased"]
    assert [len(user) for user in done["users"]] == [64, 64]
    assert GONE not in str(done)


STEPS = ("note", "append", "overwrite", "create")


class Killed(BaseException):
    """Nothing of the run goes on after this."""


@pytest.mark.parametrize("step", [pytest.param(at, marks=() if at % 18 == 4 else pytest.mark.slow) for at in range(38)])
def test_a_run_that_is_stopped_anywhere_is_completed_by_the_next(
    lake: Lake, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, before = others(lake), counts(lake)
    left = [step]

    def stopping(name: str) -> Any:
        real = getattr(Lake, name)

        def stopped(*args: Any, **more: Any) -> Any:
            left[0] -= 1
            if left[0] == -1:
                raise Killed
            return real(*args, **more)

        return stopped

    with monkeypatch.context() as patch:
        for name in STEPS:
            patch.setattr(Lake, name, stopping(name))
        with suppress(Killed):
            forget_users(lake, [RequestedUser(GONE, None)])
    forget_users(lake, [RequestedUser(GONE, None)], at_once=True)
    assert others(lake) == kept
    assert counts(lake) == {name: len(table) for name, table in kept.items()}
    erased = dict(rows(lake.read(ERASURES).groupBy("table_name").agg(F.sum("rows_erased"))))
    assert erased == {name: count - len(kept[name]) for name, count in before.items()}
    assert traces(Path(lake.root), GONE + "(?!b)") == []
    assert rows(lake.read(INGEST_RUNS).where("forgotten > 0"), "source", "batch", "forgotten") == [
        ("other", 1, 8), ("publisher", 1, 4), ("publisher", 2, 9)
    ]  # fmt: skip
    replay_logs(lake, IngestConfig(max_reject_share=1.0), source="publisher")
    assert others(lake) == kept


def test_a_replay_waits_until_a_stopped_run_is_done(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(*_: Any, **__: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(erasing, "_region", killed)
        with pytest.raises(Killed):
            forget_users(lake, [RequestedUser(GONE, None)])
    with pytest.raises(InputError, match=r"forget was stopped before it was done.*Run \./feedloop forget --lake"):
        replay_logs(lake, IngestConfig(), source="publisher")
    forget_users(lake, [])  # whoever comes next
    replay_logs(lake, IngestConfig(max_reject_share=1.0), source="publisher")
    assert lake.read(IMPRESSIONS).where(F.col("user_id") == GONE).count() == 0
