from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest
from pyspark.sql import SparkSession

from pipelines.ingest.parse import TOLD, keep_rejects, keep_told, with_told
from schemas.raw_log import REJECT_REASONS
from tests.builders import json_line, mind_line, raw_logs, rows

GOOD = ("i1", "u1", datetime(2026, 3, 2, 9, 15, 31), ["n1", "n2"], ["n3", "n4"], ["n3"])
GOOD_MIND = ("1", "U1", datetime(2019, 11, 9, 9, 5, 58), ["N1", "N2"], ["N3", "N4"], ["N3"])

JSON_REJECTS: dict[str, list[Any]] = {
    "not_utf8": [b'{"impression_id": "\xff"}', json_line().encode("utf-16")],
    "not_json": [
        json_line()[:-20],  # cut off
        json_line() + json_line("i2"),  # a lost line feed
        json_line() + " tail",
        "",
        "null",
        "[1]",
        "[" + json_line() + "]",
        "rubbish",
        '{"impression_id": "i1", "user_id": }',
    ],
    "missing_field": [
        "{}",
        *(json_line(without=(name,)) for name in ("user_id", "time", "history", "shown")),
        *(json_line(**{name: None}) for name in ("user_id", "time", "history", "shown")),
        json_line(""),
        json_line(user_id=" "),
        json_line(user_id={"id": 1}),
        json_line(user_id=["u1"]),
        json_line(history="n1 n2"),
        json_line(history=["n1", None]),
        json_line(shown="n1"),
        json_line(shown=[{"id": "n1"}]),
        json_line(shown=["n1", ""]),
        json_line(shown=7),
        json_line(time=""),
    ],
    "bad_time": [
        json_line(time=time)
        for time in (
            "yesterday",
            "09:15",  # Spark would read it as today
            "2026-03-02",
            "2026-13-02T09:15:31Z",
            "2026-02-30T09:15:31Z",
            "2026-03-02T25:15:31Z",
            "1999-12-31T23:59:59Z",
            "2026-03-11T00:00:01Z",
            "99999-03-02T09:15:31Z",
            1772442931,
            True,
            {"at": 1},
        )
    ],
    "nothing_shown": [json_line(shown=[]), json_line(shown=[], clicked=[])],
    "bad_click_mark": [
        json_line(clicked=clicked) for clicked in ("n3", "", 1, True, {"n3": 1}, [None], [""], [["n3"]])
    ],
    "clicked_not_shown": [json_line(clicked=["n9"]), json_line(clicked=["n3", "n1"])],
}
MIND_REJECTS: dict[str, list[Any]] = {
    "not_utf8": [mind_line(user_id="U").encode() + b"\xff"],
    "wrong_column_count": ["", "1\tU1", mind_line() + "\t", mind_line().replace("\t", " ")],
    "missing_field": [mind_line(""), mind_line(user_id=" "), mind_line(time=""), mind_line(shown="-1 N4-0")],
    "bad_time": [
        mind_line(time=time)
        for time in (
            "11/9/2019",
            "2019-11-09 09:05:58",
            "13/9/2019 9:05:58 AM",
            "11/31/2019 9:05:58 AM",
            "11/9/2019 13:05:58 PM",
            "11/9/1999 9:05:58 AM",
            "3/12/2026 9:05:58 AM",
        )
    ],
    "nothing_shown": [mind_line(shown=""), mind_line(shown="  ")],
    "bad_click_mark": [mind_line(shown=shown) for shown in ("N3-1 N4", "N3-2 N4-0", "N3-2", "N3- N4-1")],
}


@pytest.mark.parametrize(
    ("cases", "file"),
    [pytest.param(JSON_REJECTS, "logs/a.jsonl", id="jsonl"), pytest.param(MIND_REJECTS, "behaviors.tsv", id="mind")],
)
def test_each_bad_line_is_refused_for_its_reason(spark: SparkSession, cases: dict[str, list[Any]], file: str) -> None:
    told = [(reason, line) for reason, lines in cases.items() for line in lines]
    judged = with_told(raw_logs(spark, *(line for _, line in told), file=file), "mind" if "tsv" in file else "jsonl")
    found = {row["position"]: row["reason"] for row in judged.collect()}
    wrong = [(told[at][1], found[at], told[at][0]) for at in range(len(told)) if found[at] != told[at][0]]
    assert wrong == []
    assert keep_told(judged).count() == 0
    assert keep_rejects(judged).count() == len(told)


def test_every_reason_has_a_case() -> None:
    assert set(JSON_REJECTS) | set(MIND_REJECTS) == set(REJECT_REASONS)


def told_by(spark: SparkSession, *lines: str | bytes, format: str = "jsonl") -> list[tuple[Any, ...]]:
    return rows(keep_told(with_told(raw_logs(spark, *lines), format)), *TOLD)


def test_a_good_line_tells_its_impression(spark: SparkSession) -> None:
    assert told_by(spark, json_line()) == [GOOD]
    assert told_by(spark, json_line() + "\r") == [GOOD]
    assert told_by(spark, json_line(more={"a": [{"b": 1}]})) == [GOOD]


def test_a_good_mind_line_tells_its_impression(spark: SparkSession) -> None:
    assert told_by(spark, mind_line(), format="mind") == [GOOD_MIND]
    assert told_by(spark, mind_line(time="11/9/2019 12:00:00 AM"), format="mind")[0][2] == datetime(2019, 11, 9)
    assert told_by(spark, mind_line() + "\r", format="mind") == [GOOD_MIND]


def test_an_empty_history_is_fine(spark: SparkSession) -> None:
    assert [row[3] for row in told_by(spark, json_line(history=[]))] == [[]]
    assert [row[3] for row in told_by(spark, mind_line(history=""), format="mind")] == [[]]


def test_absent_marks_are_not_the_same_as_no_click(spark: SparkSession) -> None:
    lines = (json_line(without=("clicked",)), json_line(clicked=None), json_line(clicked=[]))
    assert sorted((row[5] for row in told_by(spark, *lines)), key=repr) == [None, None, []]
    lines = (mind_line(shown="N3 N4"), mind_line(shown="N3-0 N4-0"))
    found = [(row[4], row[5]) for row in told_by(spark, *lines, format="mind")]
    assert sorted(found, key=repr) == [(["N3", "N4"], None), (["N3", "N4"], [])]


def test_a_news_shown_twice_is_one_candidate_clicked_if_either_was(spark: SparkSession) -> None:
    assert told_by(spark, json_line(shown=["n4", "n3", "n4"], clicked=["n4"]))[0][4:] == (["n4", "n3"], ["n4"])
    assert told_by(spark, mind_line(shown="N4-0 N3-0 N4-1"), format="mind")[0][4:] == (["N4", "N3"], ["N4"])


def test_numbers_are_read_as_ids_and_times_in_other_zones_as_utc(spark: SparkSession) -> None:
    line = json_line(7, user_id=8, history=[1], shown=[2, 3], clicked=[3], time="2026-03-02T11:15:31+02:00")  # type: ignore[arg-type]
    assert told_by(spark, line) == [("7", "8", GOOD[2], ["1"], ["2", "3"], ["3"])]


def test_a_reject_keeps_its_line_readable(spark: SparkSession) -> None:
    judged = with_told(raw_logs(spark, b"ab\xffcd"), "jsonl")
    assert rows(keep_rejects(judged), "line", "reason", "position") == [("ab\ufffdcd", "not_utf8", 0)]
