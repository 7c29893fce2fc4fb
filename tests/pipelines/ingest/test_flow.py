from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import DataFrame, SparkSession

from pipelines.histories import with_history
from pipelines.ingest import flow
from pipelines.ingest.batch import audit, run_records
from pipelines.ingest.batch.run_records import files_note, raw_note, run_record
from pipelines.ingest.discover.sources import find_new, log_paths
from pipelines.ingest.flow import ingest_logs
from pipelines.ingest.read.readers import raw_lines
from pipelines.ingest.resolve import impressions
from pipelines.lake.tables import Lake
from schemas.errors import ContractError
from schemas.impression import ALIASES, HISTORIES, IMPRESSIONS
from schemas.raw_log import INGEST_FILES, INGEST_RUNS, RAW_LOG, REJECTS
from tests.builders import ARRIVED, Line, json_line, mind_line, rows, write_logs

# Growing histories, redelivery, late clicks, lists that differ, two collectors, a bridged gap, rejects.
FIRST: list[Line] = [
    json_line("1", history=["a"]),
    json_line("2", history=["a", "b"], time="2026-03-03T10:00:00Z", without=("clicked",)),
    json_line("1", history=["a"]),
    b"\xff",
    json_line("3", user_id="u2", history=[], clicked=[]),
    json_line("7", user_id="u3", time="2026-03-02T01:00:00Z"),
]
SECOND: list[Line] = [
    json_line("2", history=["a", "b"], time="2026-03-03T10:00:00Z", clicked=["n4"]),
    json_line("4", history=["a", "b", "c"], shown=["n3", "n8"]),
    json_line("3", user_id="u2", history=[], shown=["n9", "n3"], clicked=["n9"]),
    json_line("5", clicked=["n1"]),
    json_line("7", user_id="u3", time="2026-03-03T20:00:00Z"),
    json_line("33", user_id="u2", history=[], clicked=["n4"]),
]
THIRD: list[Line] = [
    json_line("1", history=["a"]),
    json_line("6", user_id="u2", history=["a"], time="2026-03-02T11:00:00Z"),
    json_line(""),
    json_line("7", user_id="u3", time="2026-03-02T22:00:00Z"),
]
FILES = {"1.jsonl": FIRST, "2.jsonl.gz": SECOND, "3.jsonl": THIRD}
CONTENT = [name for name in IMPRESSIONS.column_names if name != "first_batch"]  # which depends on the runs


def run(lake: Lake, logs: Path, source: str = "publisher") -> dict[str, Any]:
    find = partial(find_new, log_paths(logs, "auto", None), logs, None)
    return ingest_logs(lake, find, source=source, arrived_at=ARRIVED)


def tables(lake: Lake) -> list[list[tuple[Any, ...]]]:
    """The tables that must not depend on how the log came: impressions, aliases, histories, and the lines refused."""
    refused = rows(lake.read(REJECTS), "file", "position", "line", "reason")
    return [rows(lake.read(IMPRESSIONS), *CONTENT), rows(lake.read(ALIASES)), rows(lake.read(HISTORIES)), refused]


def balanced(lake: Lake) -> bool:
    return lake.read(INGEST_RUNS).where("lines != impressions + merged + rejected").count() == 0


@pytest.fixture(scope="module")
def at_once(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> tuple[Lake, dict[str, Any]]:
    """Everything in one run: the result that every other way must have."""
    lake = Lake(spark, str(tmp_path_factory.mktemp("once")))
    return lake, run(lake, write_logs(tmp_path_factory.mktemp("logs"), FILES))


def test_lines_in_are_impressions_and_merged_and_rejected(at_once: tuple[Lake, dict[str, Any]]) -> None:
    lake, summary = at_once
    assert summary["outputs"]["ingest_runs"] == lake.version(INGEST_RUNS)
    assert {name: value for name, value in summary.items() if name not in ("inputs", "outputs")} == {
        "source": "publisher",
        "batches": 1,
        "new_files": 3,
        "unreadable_files": {},
        "unfinished_lines": [],
        "files": 3,
        "lines": 16,
        "impressions": 6,
        "merged": 7,
        "rejected": 3,
        "replayed": 2,
        "retold": 4,
        "double_logged": 1,
        "repeated_news": 0,
        "suppressed": 0,
        "rejected_by_reason": {"not_utf8": 1, "missing_field": 1, "clicked_not_shown": 1},
    }
    assert rows(lake.read(IMPRESSIONS), "impression_id", "also_seen_as", "shown", "clicked") == [
        ("1", [], ["n3", "n4"], [True, False]),
        ("2", [], ["n3", "n4"], [False, True]),
        ("3", ["33"], ["n3", "n4", "n9"], [False, True, True]),
        ("4", [], ["n3", "n8"], [True, False]),
        ("6", [], ["n3", "n4"], [True, False]),
        ("7", [], ["n3", "n4"], [True, False]),
    ]
    expected = [("u1", ["a", "b", "c"]), ("u2", ["a"]), ("u3", ["n1", "n2"])]
    assert rows(lake.read(HISTORIES), "user_id", "clicks") == expected
    assert balanced(lake)


def test_raw_log_holds_every_line_unchanged(at_once: tuple[Lake, dict[str, Any]]) -> None:
    found = {(file, at): bytes(line) for file, at, line in rows(at_once[0].read(RAW_LOG), "file", "position", "line")}
    expected = {(f"logs/{name}", at): line for name, lines in FILES.items() for at, line in enumerate(lines)}
    assert found == {at: line if isinstance(line, bytes) else line.encode() for at, line in expected.items()}


def test_each_impression_gets_its_history_back(at_once: tuple[Lake, dict[str, Any]]) -> None:
    lake = at_once[0]
    restored = with_history(lake.read(IMPRESSIONS), lake.read(HISTORIES))
    histories = {"1": ["a"], "2": ["a", "b"], "3": [], "4": ["a", "b", "c"], "6": ["a"], "7": ["n1", "n2"]}
    assert rows(restored, "impression_id", "history") == sorted(histories.items())


def test_the_same_folder_again_is_a_no_op(at_once: tuple[Lake, dict[str, Any]], tmp_path: Path) -> None:
    lake = at_once[0]
    versions = [lake.version(table) for table in (RAW_LOG, IMPRESSIONS, HISTORIES, REJECTS, INGEST_RUNS)]
    again = run(lake, write_logs(tmp_path, FILES))
    assert [again[name] for name in ("new_files", "files", "lines", "impressions", "merged", "rejected")] == [0] * 6
    assert [lake.version(table) for table in (RAW_LOG, IMPRESSIONS, HISTORIES, REJECTS, INGEST_RUNS)] == versions


def test_runs_file_by_file_in_another_order_give_the_same_tables(
    spark: SparkSession, tmp_path: Path, at_once: tuple[Lake, dict[str, Any]]
) -> None:
    lake = Lake(spark, str(tmp_path / "lake"))
    summaries = [run(lake, write_logs(tmp_path, {name: FILES[name]})) for name in reversed(FILES)]
    assert tables(lake) == tables(at_once[0])
    assert sum(summary["lines"] for summary in summaries) == 16
    assert sum(summary["impressions"] for summary in summaries) == 6
    assert balanced(lake)


STEPS: tuple[tuple[Any, str], ...] = (
    (flow, "_write_batch"),
    (flow, "write_histories"),
    (flow, "plan_impressions"),
    (flow, "write_impressions"),
    (impressions, "_change_linked"),
    (impressions, "_merge_aliases"),
    (flow, "refused"),
    (flow, "run_record"),
    (flow, "write_files"),
    (flow, "write_run_record"),
)


def test_runs_killed_before_each_commit_are_completed_by_the_next(
    spark: SparkSession, tmp_path: Path, at_once: tuple[Lake, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = Lake(spark, str(tmp_path / "lake"))
    run(lake, write_logs(tmp_path, {"1.jsonl": FIRST}))
    logs = write_logs(tmp_path, {"2.jsonl.gz": SECOND})
    for module, step in STEPS:  # each run comes one commit further than the one before, and replays the others
        with monkeypatch.context() as killed:
            killed.setattr(module, step, _killed)
            with pytest.raises(KeyboardInterrupt):
                run(lake, logs)
    summary = run(lake, write_logs(tmp_path, {"3.jsonl": THIRD}))
    assert (summary["new_files"], summary["files"], summary["lines"]) == (1, 2, 10)
    assert (summary["impressions"], summary["merged"], summary["rejected"]) == (2, 6, 2)
    assert tables(lake) == tables(at_once[0])
    assert balanced(lake)


def test_lines_that_a_file_gains_later_are_read_then(spark: SparkSession, tmp_path: Path) -> None:
    lake = Lake(spark, str(tmp_path / "lake"))
    run(lake, write_logs(tmp_path, {"1.jsonl": FIRST[:2]}))
    summary = run(lake, write_logs(tmp_path, {"1.jsonl": FIRST}))
    assert (summary["new_files"], summary["lines"], summary["impressions"]) == (1, 4, 2)
    assert rows(lake.read(RAW_LOG), "position") == [(at,) for at in range(6)]
    assert rows(lake.read(INGEST_FILES), "batch", "lines") == [(1, 2), (2, 6)]


def test_many_files_come_in_batches_and_give_the_same_tables(
    spark: SparkSession, tmp_path: Path, at_once: tuple[Lake, dict[str, Any]]
) -> None:
    lake, logs = Lake(spark, str(tmp_path / "lake")), write_logs(tmp_path, FILES)
    find = partial(find_new, log_paths(logs, "auto", None), logs, None)
    summary = ingest_logs(lake, find, source="publisher", arrived_at=ARRIVED, max_batch_bytes=1)
    assert (summary["batches"], summary["lines"], summary["impressions"]) == (3, 16, 6)
    assert tables(lake) == tables(at_once[0])


def test_sources_are_separate_and_may_differ_in_format(spark: SparkSession, tmp_path: Path) -> None:
    lake = Lake(spark, str(tmp_path / "lake"))
    json_logs = write_logs(tmp_path / "a", {"1.jsonl": [json_line()]})
    mind_logs = write_logs(tmp_path / "b", {"behaviors.tsv": [mind_line(), mind_line("2", time="never")]})
    assert run(lake, json_logs, "x")["rejected_by_reason"] == {}
    assert run(lake, mind_logs, "y")["rejected_by_reason"] == {"bad_time": 1}
    assert rows(lake.read(INGEST_RUNS), "source", "batch", "impressions") == [("x", 1, 1), ("y", 1, 1)]


def test_a_batch_without_a_line_that_was_killed_is_completed(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = Lake(spark, str(tmp_path / "lake"))
    logs = write_logs(tmp_path, {"1.jsonl": [json_line()]})
    with monkeypatch.context() as killed:
        killed.setattr(flow, "raw_lines", lambda spark, files: raw_lines(spark, files).where("position < 0"))
        killed.setattr(audit, "check_lines", lambda lines, files: None)  # as an older feedloop did
        killed.setattr(flow, "files_note", lambda files: [_without_skip(note) for note in files_note(files)])
        killed.setattr(flow, "_write_batch", _killed)
        with pytest.raises(KeyboardInterrupt):
            run(lake, logs)
    summary = run(lake, write_logs(tmp_path, {"1.jsonl": [json_line()], "2.jsonl": [json_line("2")]}))
    assert (summary["batches"], summary["impressions"]) == (2, 1)
    assert rows(lake.read(INGEST_RUNS), "batch", "lines") == [(1, 0), (2, 1)]


def test_only_rejects_still_make_every_table(spark: SparkSession, tmp_path: Path) -> None:
    lake = Lake(spark, str(tmp_path / "lake"))
    summary = run(lake, write_logs(tmp_path, {"1.jsonl": [json_line(shown=[])]}))
    assert (summary["impressions"], summary["rejected"]) == (0, 1)
    assert lake.read(IMPRESSIONS).count() == lake.read(HISTORIES).count() == 0


def test_a_batch_that_does_not_balance_is_an_error(at_once: tuple[Lake, dict[str, Any]]) -> None:
    plan = {"replayed": 1, "retold": 0, "double_logged": 0, "repeated_news": 0}
    with pytest.raises(ContractError, match=r"16 lines, but 6 impressions \+ 1 merged \+ 3 rejected"):
        run_record(at_once[0], plan, raw_note(at_once[0], "publisher", 1))


def test_a_batch_whose_note_is_lost_is_an_error(at_once: tuple[Lake, dict[str, Any]]) -> None:
    with pytest.raises(ContractError, match="no longer holds batch 9"):
        run_records.raw_note(at_once[0], "publisher", 9)


def test_a_file_that_cannot_be_used_is_named_and_the_others_land(spark: SparkSession, tmp_path: Path) -> None:
    lake = Lake(spark, str(tmp_path / "lake"))
    summary = run(lake, write_logs(tmp_path, {"1.jsonl": [json_line()], "2.jsonl": ["rubbish"]}))
    assert list(summary["unreadable_files"]) == ["logs/2.jsonl"]
    assert (summary["lines"], summary["impressions"]) == (1, 1)


def test_the_mind_sample_is_read_completely(spark: SparkSession, tmp_path: Path, shared_data: Path) -> None:
    lake = Lake(spark, str(tmp_path))
    summary = run(lake, shared_data / "mind_sample")
    assert [summary[name] for name in ("files", "lines", "impressions", "merged", "rejected")] == [2, 5000, 5000, 0, 0]
    found = lake.read(IMPRESSIONS)
    lengths = found.selectExpr("count_if(history_length = 0)", "max(history_length)", "round(avg(history_length))")
    assert rows(lengths) == [(107, 425, 32.0)]
    shown = found.selectExpr("min(size(shown))", "max(size(shown))", "round(avg(size(shown)), 1)")
    assert rows(shown) == [(2, 283, 37.9)]
    clicks = found.where("clicked IS NOT NULL").selectExpr("size(filter(clicked, mark -> mark)) AS clicks", "date")
    days = clicks.selectExpr("count(*)", "min(clicks)", "max(clicks)", "string(min(date))", "string(max(date))")
    assert rows(days) == [(4032, 1, 18, "2019-11-09", "2019-11-13")]
    assert _logged_histories(lake) == rows(
        with_history(found, lake.read(HISTORIES)).selectExpr("impression_id", "user_id", "array_join(history, ' ')")
    )


def test_the_ebnerd_week_is_read_completely_and_without_personal_columns(
    spark: SparkSession, tmp_path: Path, shared_data: Path
) -> None:
    lake = Lake(spark, str(tmp_path))
    summary = run(lake, shared_data / "ebnerd_demo")
    assert [summary[name] for name in ("lines", "impressions", "merged", "rejected")] == [24724, 24724, 0, 0]
    assert rows(lake.read(IMPRESSIONS).selectExpr("count(distinct user_id)")) == [(1590,)]
    logged = lake.read(RAW_LOG).selectExpr("string(line) AS line")
    assert logged.where("line RLIKE '(?i)gender|postcode|age|scroll'").count() == 0
    restored = with_history(lake.read(IMPRESSIONS), lake.read(HISTORIES))
    raw = logged.selectExpr("from_json(line, 'impression_id string, history array<string>') AS logged").select(
        "logged.*"
    )
    lengths = "impression_id", "xxhash64(history) AS history"
    assert rows(restored.selectExpr(*lengths)) == rows(raw.selectExpr(*lengths))


def _logged_histories(lake: Lake) -> list[tuple[Any, ...]]:
    raw = lake.read(RAW_LOG).selectExpr("split(string(line), '\t', -1) AS logged")
    logged: DataFrame = raw.selectExpr(
        "logged[0] AS impression_id", "logged[1] AS user_id", "trim(logged[3]) AS history"
    )
    return rows(logged)


def _without_skip(note: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in note.items() if name in ("name", *INGEST_FILES.column_names[3:7])}


def _killed(*_: object, **__: object) -> Callable[..., None]:
    raise KeyboardInterrupt
