from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from pipelines.histories import with_history
from pipelines.ingest import flow
from pipelines.ingest.flow import ingest_logs, write_book
from pipelines.tables import Lake
from schemas.errors import ContractError, InputError
from schemas.impression import HISTORIES, IMPRESSIONS
from schemas.raw_log import INGEST_RUNS, RAW_LOG, REJECTS
from tests.builders import ARRIVED, Line, json_line, mind_line, rows, write_logs

# Growing histories, redelivery within and across files, late clicks, lists that differ, rejects.
FIRST: list[Line] = [
    json_line("1", history=["a"]),
    json_line("2", history=["a", "b"], time="2026-03-03T10:00:00Z", without=("clicked",)),
    json_line("1", history=["a"]),
    b"\xff",
    json_line("3", user_id="u2", history=[], clicked=[]),
]
SECOND: list[Line] = [
    json_line("2", history=["a", "b"], time="2026-03-03T10:00:00Z", clicked=["n4"]),
    json_line("4", history=["a", "b", "c"]),
    json_line("3", user_id="u2", history=[], shown=["n9", "n3"], clicked=["n9"]),
    json_line("5", clicked=["n1"]),
]
THIRD: list[Line] = [json_line("1", history=["a"]), json_line("6", user_id="u2", history=["a"]), json_line("")]
FILES = {"1.jsonl": FIRST, "2.jsonl.gz": SECOND, "3.jsonl": THIRD}
CONTENT = [name for name in IMPRESSIONS.column_names if name != "first_batch"]  # that one tells of runs


def run(lake: Lake, logs: Path, source: str = "publisher") -> dict[str, Any]:
    return ingest_logs(lake, logs=logs, source=source, format="auto", arrived_at=ARRIVED)


def tables(lake: Lake) -> list[list[tuple[Any, ...]]]:
    """What must not depend on how the log came: impressions, histories, and the lines refused."""
    refused = rows(lake.read(REJECTS), "file", "position", "line", "reason")
    return [rows(lake.read(IMPRESSIONS), *CONTENT), rows(lake.read(HISTORIES)), refused]


def balanced(lake: Lake) -> bool:
    return lake.read(INGEST_RUNS).where("lines != impressions + merged + rejected").count() == 0


@pytest.fixture(scope="module")
def at_once(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> tuple[Lake, dict[str, Any]]:
    """Everything in one run: what every other way must come to."""
    lake = Lake(spark, str(tmp_path_factory.mktemp("once")))
    return lake, run(lake, write_logs(tmp_path_factory.mktemp("logs"), FILES))


def test_lines_in_are_impressions_and_merged_and_rejected(at_once: tuple[Lake, dict[str, Any]]) -> None:
    lake, summary = at_once
    assert summary == {
        "source": "publisher",
        "new_files": 3,
        "files": 3,
        "lines": 12,
        "impressions": 5,
        "merged": 4,
        "rejected": 3,
        "rejected_by_reason": {"not_utf8": 1, "missing_field": 1, "clicked_not_shown": 1},
        "table_versions": {t.name: 1 for t in (RAW_LOG, IMPRESSIONS, HISTORIES, REJECTS, INGEST_RUNS)},
    }
    assert rows(lake.read(IMPRESSIONS), "impression_id", "shown", "clicked") == [
        ("1", ["n3", "n4"], [True, False]),
        ("2", ["n3", "n4"], [False, True]),
        ("3", ["n3", "n4", "n9"], [False, False, True]),
        ("4", ["n3", "n4"], [True, False]),
        ("6", ["n3", "n4"], [True, False]),
    ]
    assert rows(lake.read(HISTORIES), "user_id", "clicks") == [("u1", ["a", "b", "c"]), ("u2", ["a"])]
    assert balanced(lake)


def test_raw_log_holds_every_line_unchanged(at_once: tuple[Lake, dict[str, Any]]) -> None:
    found = {(file, at): bytes(line) for file, at, line in rows(at_once[0].read(RAW_LOG), "file", "position", "line")}
    told = {(f"logs/{name}", at): line for name, lines in FILES.items() for at, line in enumerate(lines)}
    assert found == {at: line if isinstance(line, bytes) else line.encode() for at, line in told.items()}


def test_each_impression_gets_its_history_back(at_once: tuple[Lake, dict[str, Any]]) -> None:
    lake = at_once[0]
    restored = with_history(lake.read(IMPRESSIONS), lake.read(HISTORIES))
    histories = {"1": ["a"], "2": ["a", "b"], "3": [], "4": ["a", "b", "c"], "6": ["a"]}
    assert rows(restored, "impression_id", "history") == sorted(histories.items())


def test_the_same_folder_again_is_a_no_op(at_once: tuple[Lake, dict[str, Any]], tmp_path: Path) -> None:
    lake, first = at_once
    again = run(lake, write_logs(tmp_path, FILES))
    assert [again[name] for name in ("new_files", "files", "lines", "impressions", "merged", "rejected")] == [0] * 6
    assert again["table_versions"] == first["table_versions"]


def test_runs_file_by_file_in_another_order_give_the_same_tables(
    spark: SparkSession, tmp_path: Path, at_once: tuple[Lake, dict[str, Any]]
) -> None:
    lake = Lake(spark, str(tmp_path / "lake"))
    summaries = [run(lake, write_logs(tmp_path, {name: FILES[name]})) for name in reversed(FILES)]
    assert tables(lake) == tables(at_once[0])
    assert sum(summary["lines"] for summary in summaries) == 12
    assert sum(summary["impressions"] for summary in summaries) == 5
    assert balanced(lake)


STEPS = ("ingest_batch", "merge_impressions", "merge_histories", "append_rejects", "count_impressions", "write_book")


def test_runs_killed_before_each_commit_are_completed_by_the_next(
    spark: SparkSession, tmp_path: Path, at_once: tuple[Lake, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = Lake(spark, str(tmp_path / "lake"))
    run(lake, write_logs(tmp_path, {"1.jsonl": FIRST}))
    logs = write_logs(tmp_path, {"2.jsonl.gz": SECOND})
    for step in STEPS:  # each run comes one commit further than the one before, and replays the others
        with monkeypatch.context() as killed:
            killed.setattr(flow, step, _killed)
            with pytest.raises(KeyboardInterrupt):
                run(lake, logs)
    summary = run(lake, write_logs(tmp_path, {"3.jsonl": THIRD}))
    assert (summary["new_files"], summary["files"], summary["lines"]) == (1, 2, 7)
    assert (summary["impressions"], summary["merged"], summary["rejected"]) == (2, 3, 2)
    assert tables(lake) == tables(at_once[0])
    assert balanced(lake)


def test_sources_do_not_meet_and_may_differ_in_format(spark: SparkSession, tmp_path: Path) -> None:
    lake = Lake(spark, str(tmp_path / "lake"))
    json_logs = write_logs(tmp_path / "a", {"1.jsonl": [json_line()]})
    mind_logs = write_logs(tmp_path / "b", {"behaviors.tsv": [mind_line(), mind_line("2", time="never")]})
    assert run(lake, json_logs, "x")["rejected_by_reason"] == {}
    assert run(lake, mind_logs, "y")["rejected_by_reason"] == {"bad_time": 1}
    assert rows(lake.read(INGEST_RUNS), "source", "batch", "impressions") == [("x", 1, 1), ("y", 1, 1)]


def test_only_rejects_still_make_every_table(spark: SparkSession, tmp_path: Path) -> None:
    lake = Lake(spark, str(tmp_path / "lake"))
    summary = run(lake, write_logs(tmp_path, {"1.jsonl": [json_line(shown=[])]}))
    assert (summary["impressions"], summary["rejected"]) == (0, 1)
    assert lake.read(IMPRESSIONS).count() == lake.read(HISTORIES).count() == 0


def test_a_batch_that_does_not_balance_is_not_written(spark: SparkSession, tmp_path: Path) -> None:
    lake = Lake(spark, str(tmp_path))
    book = {"files": 1, "lines": 5, "impressions": 2, "merged": 1, "rejected": 1}
    with pytest.raises(ContractError, match=r"5 lines, but 2 impressions \+ 1 merged \+ 1 rejected"):
        write_book(lake, book, "publisher", 1)
    assert not lake.exists(INGEST_RUNS)


def test_a_bad_file_leaves_the_lake_as_it_was(spark: SparkSession, tmp_path: Path) -> None:
    lake = Lake(spark, str(tmp_path / "lake"))
    logs = write_logs(tmp_path, {"1.jsonl": [json_line()], "2.jsonl": ["rubbish"]})
    with pytest.raises(InputError, match=r"2\.jsonl"):
        run(lake, logs)
    assert not (tmp_path / "lake").exists()


def test_the_mind_sample_is_read_whole(spark: SparkSession, tmp_path: Path, shared_data: Path) -> None:
    lake, sample = Lake(spark, str(tmp_path)), shared_data / "mind_sample"
    labelled, unlabelled = run(lake, sample), run(lake, sample / "behaviors_unlabelled.tsv.gz")
    assert [labelled[name] for name in ("lines", "impressions", "rejected")] == [4032, 4032, 0]
    assert [unlabelled[name] for name in ("lines", "impressions", "rejected")] == [968, 968, 0]
    impressions = lake.read(IMPRESSIONS)
    lengths = impressions.selectExpr(
        "count_if(history_length = 0)", "max(history_length)", "round(avg(history_length))"
    )
    assert rows(lengths) == [(107, 425, 32.0)]
    assert rows(impressions.selectExpr("min(size(shown))", "max(size(shown))", "round(avg(size(shown)), 1)")) == [
        (2, 283, 37.9)
    ]
    clicks = impressions.where("clicked IS NOT NULL").selectExpr(
        "size(filter(clicked, mark -> mark)) AS clicks", "date"
    )
    assert rows(
        clicks.selectExpr("count(*)", "min(clicks)", "max(clicks)", "string(min(date))", "string(max(date))")
    ) == [(4032, 1, 18, "2019-11-09", "2019-11-13")]
    raw = lake.read(RAW_LOG).selectExpr("split(string(line), '\t', -1) AS told")
    told = raw.selectExpr("told[0] AS impression_id", "told[1] AS user_id", "trim(told[3]) AS history")
    restored = with_history(impressions, lake.read(HISTORIES))
    assert rows(told) == rows(restored.selectExpr("impression_id", "user_id", "array_join(history, ' ')"))


def _killed(*_: object, **__: object) -> Callable[..., None]:
    raise KeyboardInterrupt
