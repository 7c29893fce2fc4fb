from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import pytest
from pyspark.sql import SparkSession

from pipelines.ingest.parse.lines import PARSED_FIELDS, keep_parsed, keep_rejects, with_parsed
from pipelines.ingest.parse.mapping import LogMapping
from pipelines.ingest.parse.mapping_file import read_mapping
from schemas.raw_log import REJECT_REASONS, WITHHELD
from tests.builders import json_line, mind_line, raw_logs, rows
from tests.conftest import REPOSITORY

GOOD = ("i1", "u1", datetime(2026, 3, 2, 9, 15, 31), ["n1", "n2"], ["n3", "n4"], ["n3"])
GOOD_MIND = ("1", "U1", datetime(2019, 11, 9, 9, 5, 58), ["N1", "N2"], ["N3", "N4"], ["N3"])

JSON_REJECTS: dict[str, list[Any]] = {
    "too_long": [json_line(more="x" * (1 << 20)), "x" * (1 << 20) + "y", b"\xff" * (10 << 20)],
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
        json_line() + " }",
        json_line() + ', "": ' + json_line("i2"),
        json_line(more={"a": "}"}) + "}",
        json_line(more={"a": 1}) + json_line(more={"a": 1}),
        json_line().replace("n4", "n4\x00"),
        "[" * 100_000,
        '{"more": ' + "[" * 100_000,
        json_line(more=1).replace(": 1", ": " + "[" * 5000 + "]" * 5000),
        json_line(more=1).replace(": 1", ": tru"),
    ],
    "duplicate_field": [
        json_line()[:-1] + ', "user_id": "u2"}',
        json_line()[:-1] + ', "user_id": "u1"}',
        json_line()[:-1] + ', "us\\u0065r_id": "u2"}',
        json_line()[:-1] + ', "clicked": null}',
        json_line(more={"shown": 1})[:-1] + ', "shown": [], "more": 2}',
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
    "bad_id": [
        *(
            json_line(id)
            for id in ("C:\\logs\\i1", "a\nb", "a b", "a\u00a0b", "a\u2028b", "a\x00", "\x7f", "i" * 257, "é" * 129)
        ),
        json_line(user_id="u1\tu2"),
        json_line(history=["n1", "n 2"]),
        json_line(history=["n1", "n\x01"]),
        json_line(shown=["n3", "n4 "]),
        json_line(clicked=["n3 n4"]),
        json_line(user_id="u1").replace("u1", "\\ud800"),
        json_line(shown=["n3", "n4"]).replace("n4", "n\\udc00\\ud800"),
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
            "1989-12-31T23:59:59Z",
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
    "too_long": [mind_line(history="N1 " * 400_000)],
    "not_utf8": [mind_line(user_id="U").encode() + b"\xff"],
    "wrong_column_count": ["", "1\tU1", mind_line() + "\t", mind_line().replace("\t", " ")],
    "missing_field": [mind_line(""), mind_line(user_id=" "), mind_line(time=""), mind_line(shown="-1 N4-0")],
    "bad_id": [
        mind_line("1 2"),
        mind_line(user_id="C:\\U1"),
        mind_line(history="N1 N\x002"),
        mind_line(history="N" * 257),
        mind_line(shown="N1\x7f-1 N2-0"),
        mind_line(shown="N1\u3000N2-1"),
    ],
    "bad_time": [
        mind_line(time=time)
        for time in (
            "11/9/2019",
            "2019-11-09 09:05:58",
            "13/9/2019 9:05:58 AM",
            "11/31/2019 9:05:58 AM",
            "11/9/2019 13:05:58 PM",
            "11/9/1989 9:05:58 AM",
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
    expected = [(reason, line) for reason, lines in cases.items() for line in lines]
    parsed = with_parsed(
        raw_logs(spark, *(line for _, line in expected), file=file), "mind" if "tsv" in file else "jsonl"
    )
    found = dict(rows(parsed, "position", "reason"))
    wrong = [
        (expected[at][1][:200], found[at], expected[at][0])
        for at in range(len(expected))
        if found[at] != expected[at][0]
    ]
    assert wrong == []
    assert keep_parsed(parsed).count() == 0
    assert keep_rejects(parsed).count() == len(expected)


def test_every_reason_has_a_case() -> None:
    assert set(JSON_REJECTS) | set(MIND_REJECTS) == set(REJECT_REASONS)


def parsed_by(spark: SparkSession, *lines: str | bytes, format: str = "jsonl") -> list[tuple[Any, ...]]:
    return rows(keep_parsed(with_parsed(raw_logs(spark, *lines), format)), *PARSED_FIELDS)


def test_a_good_line_is_parsed_into_its_impression(spark: SparkSession) -> None:
    assert parsed_by(spark, json_line()) == [GOOD]
    assert parsed_by(spark, json_line(more={"a": [{"b": 1}]})) == [GOOD]


def test_a_good_mind_line_is_parsed_into_its_impression(spark: SparkSession) -> None:
    assert parsed_by(spark, mind_line(), format="mind") == [GOOD_MIND]
    assert parsed_by(spark, mind_line(time="11/9/2019 12:00:00 AM"), format="mind")[0][2] == datetime(2019, 11, 9)


def test_an_empty_history_is_fine(spark: SparkSession) -> None:
    assert [row[3] for row in parsed_by(spark, json_line(history=[]))] == [[]]
    assert [row[3] for row in parsed_by(spark, mind_line(history=""), format="mind")] == [[]]


def test_absent_marks_are_not_the_same_as_no_click(spark: SparkSession) -> None:
    lines = (json_line(without=("clicked",)), json_line(clicked=None), json_line(clicked=[]))
    assert sorted((row[5] for row in parsed_by(spark, *lines)), key=repr) == [None, None, []]
    lines = (mind_line(shown="N3 N4"), mind_line(shown="N3-0 N4-0"))
    found = [(row[4], row[5]) for row in parsed_by(spark, *lines, format="mind")]
    assert sorted(found, key=repr) == [(["N3", "N4"], None), (["N3", "N4"], [])]


def test_a_news_shown_twice_is_one_candidate_clicked_if_either_was(spark: SparkSession) -> None:
    assert parsed_by(spark, json_line(shown=["n4", "n3", "n4"], clicked=["n4"]))[0][4:] == (["n4", "n3"], ["n4"])
    assert parsed_by(spark, mind_line(shown="N4-0 N3-0 N4-1"), format="mind")[0][4:] == (["N4", "N3"], ["N4"])


def test_numbers_are_read_as_ids_and_times_in_other_zones_as_utc(spark: SparkSession) -> None:
    line = json_line(7, user_id=8, history=[1], shown=[2, 3], clicked=[3], time="2026-03-02T11:15:31+02:00")  # type: ignore[arg-type]
    assert parsed_by(spark, line) == [("7", "8", GOOD[2], ["1"], ["2", "3"], ["3"])]


def test_what_looks_odd_may_be_fine(spark: SparkSession) -> None:
    lines = [
        json_line(more={"a": [{"b": "}{"}]}) + "  ",
        " " + json_line(text='he said "no" \\ \x00 null', more=None),
        json_line().replace('"u1"', '"\\u00751"'),
        json_line(text="\ud800 is half a letter of a title"),
        json_line(user_id="u1", text="Blåbærgrød"),
        json_line(other={"shown": 1, "x": 1}, shownx=1),
        json_line()[:-1] + ', "more": 1, "more": 2}',  # not ours: which one counts does not matter
    ]
    assert parsed_by(spark, *lines) == [GOOD] * len(lines)
    ids = ["æøå", "a-b_c.d:e/f|g", "{}"[:1] * 0 + "x{y}", "[1]"[1:], "i" * 256, "é" * 128, "?", "😀"]
    assert [row[0] for row in parsed_by(spark, *(json_line(id) for id in ids))] == sorted(
        ids, key=lambda id: repr((id,))
    )


def test_a_withheld_line_keeps_the_reason_for_which_it_was_refused(spark: SparkSession) -> None:
    line = '{"sha256":"ab","bytes":3,"reason":"bad_time"}'
    raw = raw_logs(spark, line, format=WITHHELD).unionByName(raw_logs(spark, json_line(), json_line(shown=[])))
    parsed = with_parsed(raw, "jsonl")
    found = rows(parsed, "impression_id", "reason")
    assert found == [("i1", "nothing_shown"), ("i1", None), (None, "bad_time")]
    assert (line, "bad_time") in rows(keep_rejects(parsed), "line", "reason")


def by_mapping(spark: SparkSession, mapping: LogMapping, *records: dict[str, Any], more: Sequence[str] = ()) -> Any:
    lines = raw_logs(spark, *(json.dumps(record) for record in records), format=mapping.as_format)
    return [row[1:] for row in rows(with_parsed(lines, mapping.as_format), "position", *more, "reason")]


def test_lines_of_the_example_mapping_are_parsed_into_their_impressions(spark: SparkSession) -> None:
    mapping = read_mapping(REPOSITORY / "jobs" / "presets" / "logs" / "jsonl.toml")
    user = {"id": "u1", "recent": ["n1", "n2"]}
    event = {"id": 1, "at": "2026-03-02 10:15:31", "user": user, "device": "phone"}
    page = {"items": ["n3", "n4", "n3"], "clicks": [0, 0, True], "seconds": "1.5"}
    records = [
        {"event": event, "payload": page},
        {"event": event | {"at": "2026-07-02 11:15:31"}, "payload": page | {"seconds": {"a": 1}, "clicks": None}},
        {"event": event | {"user": {"id": "u1"}}, "payload": page},
        {"event": "x", "payload": page},
        {"event": event, "payload": page | {"clicks": [0, 1]}},
        {"event": event, "payload": page | {"clicks": [0, 1, 7]}},
        {"event": event, "payload": page | {"clicks": "n3"}},
        {"event": event | {"at": "yesterday"}, "payload": page},
    ]
    assert by_mapping(spark, mapping, *records, more=("time", "shown", "clicked_ids", "device", "read_seconds")) == [
        (datetime(2026, 3, 2, 9, 15, 31), ["n3", "n4"], ["n3"], "phone", 1.5, None),
        (datetime(2026, 7, 2, 9, 15, 31), ["n3", "n4"], None, "phone", None, "bad_time"),  # the lines came in March
        *((datetime(2026, 3, 2, 9, 15, 31), ["n3", "n4"], ["n3"], "phone", 1.5, "missing_field") for _ in "1"),
        (None, ["n3", "n4"], ["n3"], None, 1.5, "missing_field"),
        *(
            (datetime(2026, 3, 2, 9, 15, 31), ["n3", "n4"], clicked, "phone", 1.5, "bad_click_mark")
            for clicked in (["n4"], ["n4"], None)
        ),
        (None, ["n3", "n4"], ["n3"], "phone", 1.5, "bad_time"),
    ]


def test_a_nested_field_given_twice_is_refused(spark: SparkSession) -> None:
    mapping = LogMapping(columns={"impression_id": "e.id", "user_id": "e.u.id", "time": "t", "shown": "s"})
    good = '{"e": {"id": 1, "u": {"id": 2, "x": 1, "x": 2}}, "t": "2026-03-02T09:15:31", "s": ["n"]}'
    bad = [
        good.replace('"id": 2', '"id": 2, "id": 3'),
        good.replace('"u"', '"id": 1, "u"'),
        good.replace('"t"', '"e": 1, "t"'),
    ]
    parsed = with_parsed(raw_logs(spark, good, *bad), mapping.as_format)
    assert [reason for _, reason in rows(parsed, "position", "reason")] == [None, *["duplicate_field"] * 3]


@pytest.mark.parametrize(
    ("format", "good", "bad"),
    [
        (
            "epoch_seconds",
            (1772442931, "1772442931.0000004", 1772442931.0, "1.772442931e9"),
            (-1, "1e28", "x", 10**30, None),
        ),
        ("epoch_milliseconds", (1772442931000, 1772442931000.0004), (1772442931, "x", 10**14)),
        ("epoch_microseconds", (1772442931000000, 1772442931000000.0), (1772442931, "1e99", True)),
        ("epoch_nanoseconds", (1772442931000000999, "1772442931000000000"), (1772442931, "1e19")),
        ("iso", ("2026-03-02T10:15:31", "2026-03-02 10:15:31.000", "2026-03-02T09:15:31Z"), (1772442931,)),
        ("dd.MM.yyyy HH:mm:ss", ("02.03.2026 10:15:31",), ("31.02.2026 10:15:31", "02.03.2026", "")),
        ("yyyy-MM-dd HH:mm:ss XXX", ("2026-03-02 09:15:31 Z", "2026-03-02 14:45:31 +05:30"), ("2026-03-02 09:15:31",)),
    ],
)
def test_times_of_each_format(spark: SparkSession, format: str, good: Sequence[Any], bad: Sequence[Any]) -> None:
    mapping = LogMapping(time_format=format, time_zone="Europe/Copenhagen")
    records = [json.loads(json_line(time=time)) for time in (*good, *bad)]
    found = by_mapping(spark, mapping, *records, more=("time",))
    assert found[: len(good)] == [(GOOD[2], None)] * len(good)
    assert {reason for _, reason in found[len(good) :]} <= {"bad_time", "missing_field"}


def test_a_reject_keeps_its_line_readable(spark: SparkSession) -> None:
    parsed = with_parsed(raw_logs(spark, b"ab\xffcd"), "jsonl")
    assert rows(keep_rejects(parsed), "line", "reason", "position") == [("ab\ufffdcd", "not_utf8", 0)]
