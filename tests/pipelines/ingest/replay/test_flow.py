from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from pipelines.histories import with_history
from pipelines.ingest import flow
from pipelines.ingest.batch import replace_rows as replacing
from pipelines.ingest.config import IngestConfig
from pipelines.ingest.discover.sources import find_new, log_paths
from pipelines.ingest.flow import ingest_logs
from pipelines.ingest.parse.mapping import Extra, LogMapping
from pipelines.ingest.replay import flow as replaying
from pipelines.ingest.replay.batches import is_named, replayed_bytes
from pipelines.ingest.replay.flow import replay_logs
from pipelines.lake.tables import Lake
from schemas.errors import InputError
from schemas.impression import ALIASES, HISTORIES, IMPRESSIONS
from schemas.raw_log import INGEST_FILES, INGEST_RUNS, RAW_LOG, REJECTS
from tests.builders import Line, json_line, mind_line, rows, write_logs

FIRST, SECOND, THIRD = (datetime(2026, 3, day, tzinfo=UTC) for day in (8, 9, 10))
DAYS: list[tuple[datetime, list[Line]]] = [  # batches that hold the same impressions, and lines that are refused
    (FIRST, [json_line("1", history=["a"]), json_line("2", time="2026-03-03T10:00:00Z", clicked=["n4"]), b"\xff"]),
    (
        SECOND,
        [
            json_line("1", history=["a"], clicked=["n4"], time="2026-03-02T23:00:00Z"),
            json_line("3", user_id="u2", history=["b", "c"], shown=["n3", "n8"]),
            json_line("30", user_id="u2", history=["a", "b"], shown=["n3", "n8"]),
        ],
    ),
    (THIRD, [json_line("1", history=["a", "b"], time="2026-03-03T20:00:00Z"), json_line("4", shown=[])]),
]
ZONED = LogMapping(
    columns={"impression_id": "id", "user_id": "who", "time": "at", "history": "past", "shown": "list"},
    files="logs/*.jsonl",
    time_format="yyyy-MM-dd HH:mm",
)
MENDED = replace(ZONED, time_zone="America/New_York", columns=dict(ZONED.columns) | {"clicked": "picked"})
MADE = (IMPRESSIONS, ALIASES, HISTORIES, REJECTS, INGEST_RUNS)
CONFIG = IngestConfig()
LATE = IngestConfig(earliest=date(2026, 3, 3))


def mapped_line(id: str, at: str, picked: Sequence[str] = ("n1",)) -> str:
    record = {"id": id, "who": "u1", "at": at, "past": ["a"], "list": ["n1", "n2"], "picked": picked, "place": id}
    return json.dumps(record)


MAPPED: list[tuple[datetime, list[Line]]] = [
    (FIRST, [mapped_line("1", "2026-03-01 20:00"), mapped_line("2", "2026-03-01 09:00")]),
    (SECOND, [mapped_line("1", "2026-03-02 23:00", ["n2"]), mapped_line("2", "2026-03-01 08:59")]),
]


def add(
    lake: Lake,
    folder: Path,
    batches: Sequence[tuple[datetime, Sequence[Line]]],
    *,
    source: str = "publisher",
    mapping: LogMapping | None = None,
    **more: Any,
) -> None:
    """One run and one file for each batch."""
    for arrived_at, lines in batches:
        logs = write_logs(folder / arrived_at.date().isoformat(), {f"{arrived_at.date()}.jsonl": lines})
        find = partial(find_new, log_paths(logs, "auto", mapping), logs, mapping)
        ingest_logs(lake, find, source=source, arrived_at=arrived_at, **({"max_reject_share": 1.0} | more))


def made(lake: Lake, source: str = "publisher") -> list[list[tuple[Any, ...]]]:
    """The source's rows of all tables without the times of the runs."""
    ours = f"source = '{source}'"
    return [rows(lake.read(table).drop("finished_at").where(ours)) if lake.exists(table) else [] for table in MADE]


def versions(lake: Lake) -> dict[str, int]:
    return lake.versions((*MADE, RAW_LOG, INGEST_FILES))


@pytest.fixture(scope="module")
def two_sources(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("two")
    lake = Lake(spark, str(folder / "lake"))
    add(lake, folder, DAYS)
    add(lake, folder, DAYS[:2], source="other")
    return folder / "lake"


@pytest.fixture
def lake(spark: SparkSession, tmp_path: Path, two_sources: Path) -> Lake:
    shutil.copytree(two_sources, tmp_path / "lake")
    return Lake(spark, str(tmp_path / "lake"))


@pytest.fixture(scope="module")
def late(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> list[list[tuple[Any, ...]]]:
    """The rows of the same batches where times before 3 March are impossible."""
    folder = tmp_path_factory.mktemp("late")
    lake = Lake(spark, str(folder / "lake"))
    add(lake, folder, DAYS, earliest=LATE.earliest)
    return made(lake)


def test_nothing_mended_changes_nothing(lake: Lake) -> None:
    before, at = made(lake), versions(lake)
    finished = rows(lake.read(INGEST_RUNS))
    summary = replay_logs(lake, CONFIG, source="publisher")
    assert made(lake) == before
    assert rows(lake.read(INGEST_RUNS)) == finished
    assert versions(lake) == at
    assert (summary["batches"], summary["lines"], summary["rejected"]) == (3, 8, 2)
    assert summary["changes"]["impressions"] == {"before": 3, "after": 3, "new": 0, "gone": 0}
    assert not any(change["new"] or change["gone"] for change in summary["changes"].values())
    assert list(Path(lake.root, "_replay").iterdir()) == []


def test_a_mended_rule_makes_what_ingest_would_make_in_a_new_lake(lake: Lake, late: list[Any], tmp_path: Path) -> None:
    other, at = made(lake, "other"), versions(lake)
    summary = replay_logs(lake, LATE, source="publisher")
    assert made(lake) == late
    assert made(lake, "other") == other
    assert {name: versions(lake)[name] for name in ("raw_log", "ingest_files")} == {
        name: at[name] for name in ("raw_log", "ingest_files")
    }
    assert summary["changes"]["impressions"] == {"before": 3, "after": 2, "new": 1, "gone": 2}
    assert summary["changes"]["aliases"] == {"before": 3, "after": 0, "new": 0, "gone": 3}
    assert (summary["rejected"], summary["rejected_by_reason"]["bad_time"]) == (6, 5)
    add(lake, tmp_path, [(datetime(2026, 3, 11, tzinfo=UTC), [json_line("5", time="2026-03-04T00:00:00Z")])])
    assert rows(lake.read(INGEST_RUNS).where("source = 'publisher'"), "batch") == [(1,), (2,), (3,), (4,)]


def test_too_many_refused_lines_change_nothing(spark: SparkSession, tmp_path: Path) -> None:
    lake = Lake(spark, str(tmp_path / "lake"))
    few = [json_line(str(at)) for at in range(15)]
    add(lake, tmp_path, [(FIRST, few), (SECOND, few)])
    at = versions(lake)
    with pytest.raises(InputError, match=r"30 of its 30 lines would be refused.* Nothing was changed"):
        replay_logs(lake, LATE, source="publisher")
    assert (versions(lake), list(Path(lake.root, "_replay").iterdir())) == (at, [])
    add(lake, tmp_path, [(THIRD, [*few, *few])])
    at = versions(lake)
    with pytest.raises(InputError, match=r"30 of the 30 lines of this batch would be refused \(bad_time 30\)"):
        replay_logs(lake, LATE, source="publisher")
    assert versions(lake) == at
    summary = replay_logs(lake, replace(LATE, max_reject_share=1), source="publisher")
    assert (summary["impressions"], lake.read(IMPRESSIONS).count(), lake.read(HISTORIES).count()) == (0, 0, 0)


def test_another_mapping_reads_the_lines_again_and_stays_for_later_replays(spark: SparkSession, tmp_path: Path) -> None:
    lake, new = Lake(spark, str(tmp_path / "lake")), Lake(spark, str(tmp_path / "new"))
    add(lake, tmp_path / "a", MAPPED, mapping=ZONED)
    placed = replace(MENDED, extra={"place": Extra("place")})
    add(new, tmp_path / "b", MAPPED, mapping=placed)
    lines = rows(lake.read(RAW_LOG))
    replay_logs(lake, CONFIG, source="publisher", mapping=placed)
    assert made(lake) == made(new)
    assert rows(lake.read(RAW_LOG)) == lines
    at = versions(lake)
    replay_logs(lake, CONFIG, source="publisher")
    assert versions(lake) == at
    replay_logs(lake, CONFIG, source="publisher", mapping=ZONED)
    assert rows(lake.read(IMPRESSIONS), "place", "clicked") == [(None, None)] * lake.read(IMPRESSIONS).count()
    other_type = replace(MENDED, extra={"place": Extra("place", "long")})
    with pytest.raises(InputError, match="extra column place is string there, and long"):
        replay_logs(lake, CONFIG, source="publisher", mapping=other_type)


def test_from_a_date_on_another_mapping_holds_and_earlier_lines_are_read_as_before(
    spark: SparkSession, tmp_path: Path
) -> None:
    lake, new = Lake(spark, str(tmp_path / "lake")), Lake(spark, str(tmp_path / "new"))
    add(lake, tmp_path / "a", MAPPED, mapping=ZONED)
    add(new, tmp_path / "b", MAPPED[:1], mapping=ZONED)
    add(new, tmp_path / "b", MAPPED[1:], mapping=MENDED)
    since = IngestConfig(replay=True, from_=SECOND.date())
    replay_logs(lake, since, source="publisher", mapping=MENDED)
    assert made(lake) == made(new)
    with pytest.raises(InputError, match="Drop --from, or add --mapping"):
        replay_logs(lake, since, source="publisher")


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        (replace(MENDED, format="parquet"), "of the rows of parquet logs raw_log keeps"),
        (replace(MENDED, files="events/*.jsonl"), r"names; there are logs/2026-03-08.jsonl, logs/2026-03-09.jsonl"),
        (replace(MENDED, files="logs/*-08.jsonl"), r"names logs/2026-03-08.jsonl, but not logs/2026-03-09.jsonl"),
    ],
)
def test_a_mapping_that_cannot_read_the_lines_is_refused(
    spark: SparkSession, tmp_path: Path, mapping: LogMapping, message: str
) -> None:
    lake = Lake(spark, str(tmp_path / "lake"))
    files = {f"{at.date()}.jsonl": lines for at, lines in MAPPED}
    logs = write_logs(tmp_path, files)
    find = partial(find_new, log_paths(logs, "auto", ZONED), logs, ZONED)
    ingest_logs(lake, find, source="publisher", arrived_at=FIRST)
    before = versions(lake)
    with pytest.raises(InputError, match=message):
        replay_logs(lake, CONFIG, source="publisher", mapping=mapping)
    assert versions(lake) == before


def test_lines_under_a_user_key_stay_withheld_and_take_no_other_mapping(spark: SparkSession, tmp_path: Path) -> None:
    lake, new = Lake(spark, str(tmp_path / "lake")), Lake(spark, str(tmp_path / "new"))
    key = b"a key of 16 bytes or more"
    add(lake, tmp_path / "a", DAYS, user_key=key)
    replay_logs(lake, replace(LATE, max_reject_share=1), source="publisher")
    add(new, tmp_path / "b", DAYS, user_key=key)
    replay_logs(new, replace(LATE, max_reject_share=1), source="publisher")
    assert made(lake) == made(new)
    assert rows(lake.read(REJECTS).where("reason != 'bad_time'"), "reason") == [("not_utf8",), ("nothing_shown",)]
    assert lake.read(IMPRESSIONS).where("length(user_id) != 64").count() == 0
    with pytest.raises(InputError, match="user ids of publisher are replaced"):
        replay_logs(lake, CONFIG, source="publisher", mapping=MENDED)


def test_a_source_that_is_not_there_is_an_error(lake: Lake, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nothing was ingested here from source 'nobody'"):
        replay_logs(lake, CONFIG, source="nobody")
    for root, source in ((lake.root, "nobody"), (str(tmp_path / "nowhere"), "publisher")):
        with pytest.raises(InputError, match=f"nothing was ingested here from source '{source}'"):
            replayed_bytes(root, source)
    assert replayed_bytes(lake.root, "publisher") > 0


def test_lines_that_raw_log_has_lost_are_an_error(lake: Lake) -> None:
    lake.overwrite(RAW_LOG, lake.read(RAW_LOG).where("NOT (source = 'publisher' AND batch = 2 AND position = 0)"))
    before = versions(lake)
    with pytest.raises(InputError, match="holds 2 lines of batch 2 of publisher, which had 3"):
        replay_logs(lake, CONFIG, source="publisher")
    assert versions(lake) == before


def test_a_killed_batch_is_completed_first(lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as killed:
        killed.setattr(flow, "plan_impressions", _killed_at(flow.plan_impressions, 0))
        with pytest.raises(KeyboardInterrupt):
            add(lake, tmp_path, [(datetime(2026, 3, 11, tzinfo=UTC), [json_line("5")])])
    summary = replay_logs(lake, CONFIG, source="publisher")
    assert (summary["batches"], summary["lines"], summary["impressions"]) == (4, 9, 3)
    assert [len(rows) for rows in made(lake)][-1] == 4


STEPS: list[tuple[bool, Any, str, int]] = [  # whether the replacement has begun; what is killed, and at which call
    *((False, replaying, step, 1) for step in ("write_rows", "write_run_record")),
    (False, replaying, "write_note", 0),
    *((True, Lake, "overwrite", call) for call in range(6)),
    (True, replacing, "write_note", 0),
    (True, replacing, "remove_folder", 1),  # 0: what other killed replays left, before it begins
]


@pytest.mark.parametrize(
    ("begun", "module", "step", "call", "then"),
    [(*step, "replay" if at % 2 else "ingest") for at, step in enumerate([*STEPS, STEPS[0], STEPS[-2]])],
)
def test_a_replay_killed_before_each_commit_is_finished_or_undone_by_the_next_run(
    lake: Lake,
    late: list[Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    begun: bool,
    module: Any,
    step: str,
    call: int,
    then: str,
) -> None:
    before, other = made(lake), made(lake, "other")
    with monkeypatch.context() as killed:
        killed.setattr(module, step, _killed_at(getattr(module, step), call))
        with pytest.raises(KeyboardInterrupt):
            replay_logs(lake, LATE, source="publisher")
    ours = (lake.read(table).where("source = 'publisher'") for table in (IMPRESSIONS, HISTORIES))
    assert with_history(*ours).count() > 0  # each has its own
    if then == "replay":
        replay_logs(lake, LATE, source="publisher")
    else:
        ingest_logs(lake, partial(find_new, [], tmp_path, None), source="other", arrived_at=THIRD)
    assert made(lake) == (late if begun or then == "replay" else before)
    assert made(lake, "other") == other
    assert not lake.notes(INGEST_RUNS).get("replay.publisher", "").count("folder")


@pytest.mark.parametrize("call", [1, 2, 5])
def test_no_impression_lacks_its_history_while_rows_are_replaced(
    lake: Lake, monkeypatch: pytest.MonkeyPatch, call: int
) -> None:
    replay_logs(lake, LATE, source="publisher")
    few = lake.read(IMPRESSIONS).count()
    monkeypatch.setattr(Lake, "overwrite", _killed_at(Lake.overwrite, call))
    with pytest.raises(KeyboardInterrupt):
        replay_logs(lake, CONFIG, source="publisher")
    found = with_history(lake.read(IMPRESSIONS), lake.read(HISTORIES)).select("history").collect()
    assert len(found) == few + (call > 1)


def test_the_removed_rows_of_a_killed_replay_are_made_again(
    lake: Lake, late: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as killed:
        killed.setattr(Lake, "overwrite", _killed_at(Lake.overwrite, 2))
        with pytest.raises(KeyboardInterrupt):
            replay_logs(lake, LATE, source="publisher")
    shutil.rmtree(next(Path(lake.root, "_replay").glob("*/histories")))
    with pytest.raises(InputError, match=r"are gone or changed. Run ./feedloop ingest --replay --source publisher"):
        ingest_logs(lake, partial(find_new, [], tmp_path, None), source="publisher", arrived_at=THIRD)
    replay_logs(lake, LATE, source="publisher")
    assert made(lake) == late


def test_a_source_may_have_any_name_and_mind_lines(spark: SparkSession, tmp_path: Path) -> None:
    lake = Lake(spark, str(tmp_path / "lake"))
    source = "it's \\ one"
    logs = write_logs(tmp_path, {"behaviors.tsv": [mind_line(), mind_line("2", time="11/9/2018 9:05:58 AM")]})
    find = partial(find_new, log_paths(logs, "auto", None), logs, None)
    ingest_logs(lake, find, source=source, arrived_at=FIRST)
    replay_logs(lake, IngestConfig(earliest=date(2019, 1, 1)), source=source)
    assert rows(lake.read(IMPRESSIONS), "source", "impression_id") == [(source, "1")]
    assert rows(lake.read(REJECTS), "source", "reason") == [(source, "bad_time")]


@pytest.mark.parametrize("pattern", ["*.jsonl", "logs/*.jsonl", "**/*.jsonl", "logs/**/b*.jsonl", "lo?s/[ab].jsonl"])
def test_a_pattern_names_what_it_finds(tmp_path: Path, pattern: str) -> None:
    names = ["a.jsonl", "logs/a.jsonl", "logs/b.jsonl", "logs/2026/b.jsonl", "logs/2026/03/b1.jsonl", "logs/a.json"]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = {str(path.relative_to(tmp_path)) for path in tmp_path.glob(pattern)}
    assert {name for name in names if is_named(name, pattern)} == found


def _killed_at(step: Callable[..., Any], call: int) -> Callable[..., Any]:
    calls = iter(range(call + 1))

    def killed(*values: Any, **named: Any) -> Any:
        if next(calls) == call:
            raise KeyboardInterrupt
        return step(*values, **named)

    return killed
