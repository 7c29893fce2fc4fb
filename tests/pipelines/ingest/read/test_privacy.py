from __future__ import annotations

import hmac
import json
from functools import partial
from pathlib import Path

import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from pipelines.ingest.discover.sources import find_new, log_paths
from pipelines.ingest.flow import ingest_logs
from pipelines.ingest.parse.lines import PARSED_FIELDS, with_parsed
from pipelines.ingest.parse.mapping import Extra, LogMapping
from pipelines.ingest.read.privacy import store_user_key, user_key, with_replaced_users
from pipelines.lake.tables import Lake
from pipelines.session import is_embedded
from schemas.errors import InputError
from schemas.impression import ALIASES, HISTORIES, IMPRESSIONS
from schemas.raw_log import RAW_LOG, REJECTS, WITHHELD
from schemas.table import Table
from tests.builders import ARRIVED, Line, json_line, mind_line, raw_logs, rows, write_logs

KEY = b"a secret of 16 bytes or more"
BAD = json_line(user_id="secret", shown=[])


def replaced(user_id: str, key: bytes = KEY) -> str:
    return hmac.digest(key, user_id.encode(), "sha256").hex()


def stored(raw: DataFrame, format: str = "jsonl") -> DataFrame:
    return with_replaced_users(raw, format, KEY)


def test_a_usable_line_stays_the_same_except_for_its_user(spark: SparkSession) -> None:
    raw = raw_logs(
        spark, json_line(shown=["n3", "n3"], time="2026-03-02T11:15:31.123456+02:00"), json_line(without=["clicked"])
    )
    salted = with_parsed(stored(raw), "jsonl")
    others = [name for name in (*PARSED_FIELDS, "repeated_news", "reason", "position") if name != "user_id"]
    assert rows(salted, *others) == rows(with_parsed(raw, "jsonl"), *others)
    assert rows(salted, "user_id", "format") == [(replaced("u1"), "jsonl")] * 2


@pytest.mark.parametrize("user", ["u1", "æøå", "7", "i" * 256])
def test_the_replaced_id_is_the_hmac_of_its_bytes(spark: SparkSession, user: str) -> None:
    assert rows(with_parsed(stored(raw_logs(spark, json_line(user_id=user))), "jsonl"), "user_id") == [
        (replaced(user),)
    ]


def test_the_line_that_is_kept_is_the_same_to_the_byte_on_every_engine(spark: SparkSession) -> None:
    line = json_line('i"1', shown=["æ", "n3"], time="2026-03-02T11:15:31.12+02:00", without=["clicked", "history"])
    mapping = LogMapping(
        columns={name: name for name in ("impression_id", "user_id", "time", "shown")},
        extra={name: Extra(name, name) for name in ("double", "long", "boolean", "string")},
    )
    values = {"double": "1e22", "long": -7, "boolean": "true", "string": "a\n\x01"}
    given = line[:-1] + ", " + json.dumps(values)[1:]
    ((kept,),) = rows(stored(raw_logs(spark, given, format=mapping.as_format), mapping.as_format), "line")
    assert bytes(kept).decode() == (
        f'{{"impression_id":"i\\"1","user_id":"{replaced("u1")}","time":"2026-03-02T09:15:31.120000Z","history":[],'
        '"shown":["æ","n3"],"boolean":"true","double":"1e+22","long":"-7","string":"a\\n\\u0001"}'
    )


def test_mind_lines_and_mapped_lines_become_lines_of_our_own(spark: SparkSession) -> None:
    mind = stored(raw_logs(spark, mind_line(), format="mind"), "mind")
    assert rows(with_parsed(mind, "jsonl"), "user_id", "shown", "clicked_ids") == [
        (replaced("U1"), ["N3", "N4"], ["N3"])
    ]
    mapping = LogMapping(
        columns={"impression_id": "i", "user_id": "u.id", "time": "t", "shown": "s", "clicked": "c"},
        extra={"seconds": Extra("u.s", "double")},
        time_format="epoch_seconds",
        clicked_as="marks",
    )
    line = json.dumps({"i": 1, "u": {"id": "u1", "s": 2.5}, "t": 1772442931, "s": ["a", "b"], "c": [0, 1]})
    kept = stored(raw_logs(spark, line, format=mapping.as_format), mapping.as_format)
    ((format,),) = rows(kept, "format")
    assert rows(with_parsed(kept, format), "user_id", "clicked_ids", "seconds", "reason") == [
        (replaced("u1"), ["b"], 2.5, None)
    ]


def test_nothing_of_an_unusable_line_is_kept(spark: SparkSession) -> None:
    lines: list[Line] = [BAD, b"\xff secret", json_line()]
    kept = stored(raw_logs(spark, *lines))
    withheld = [json.loads(line) for _, line in rows(kept.where(F.col("format") == WITHHELD), "position", "line")]
    raw = [line.encode() if isinstance(line, str) else line for line in lines[:2]]
    assert withheld == [
        {"hmac_sha256": hmac.digest(KEY, line, "sha256").hex(), "bytes": len(line), "reason": reason}
        for line, reason in zip(raw, ("nothing_shown", "not_utf8"), strict=True)
    ]
    assert rows(with_parsed(kept, "jsonl"), "position", "reason") == [(0, "nothing_shown"), (1, "not_utf8"), (2, None)]
    assert not [line for (line,) in rows(kept, "line") if b"secret" in line]


def test_the_key_is_in_no_plan(spark: SparkSession, capsys: pytest.CaptureFixture[str]) -> None:
    frame = stored(raw_logs(spark, json_line()))
    frame.explain(True)
    shown = capsys.readouterr().out
    if not is_embedded(spark):
        plan = frame._jdf.queryExecution()
        shown += plan.toString() + plan.simpleString() + plan.logical().toJSON()
    assert "map" in shown.lower()  # of one engine's plan without the names of columns
    assert KEY.decode() not in shown
    assert KEY.hex() not in shown.lower()


@pytest.mark.parametrize("text", [b"", b"\n", b"fifteen bytes..\r\n"])
def test_a_short_key_is_refused_and_not_shown(text: bytes) -> None:
    with pytest.raises(InputError, match=r"key\.txt: a user key of \d+ bytes; give at least 16") as caught:
        user_key(text, where="key.txt")
    assert "fifteen" not in str(caught.value)


def test_the_line_end_of_a_key_file_is_no_part_of_the_key() -> None:
    assert user_key(KEY + b"\r\n", where="key.txt") == KEY


def test_a_source_keeps_its_key(spark: SparkSession, tmp_path: Path) -> None:
    lake = Lake(spark, str(tmp_path))
    for source, key in (("salted", KEY), ("plain", None), ("o'dd \\ source", KEY)):
        store_user_key(lake, source, key)
        store_user_key(lake, source, key)
    for source, key, message in (
        ("salted", KEY + b"2", r"with a user key so far, and this run is with another.*--user-key-file"),
        ("salted", None, "with a user key so far, and this run is without one"),
        ("plain", KEY, "without a user key so far, and this run is with one"),
    ):
        with pytest.raises(InputError, match=message):
            store_user_key(lake, source, key)
    assert KEY.decode() not in str(lake.notes(RAW_LOG))


def test_a_source_ingested_before_keys_existed_had_none(spark: SparkSession, tmp_path: Path) -> None:
    lake = Lake(spark, str(tmp_path))
    lake.append(RAW_LOG, raw_logs(spark, json_line()), app_id="test", app_version=1)
    store_user_key(lake, "another", KEY)
    with pytest.raises(InputError, match="without a user key so far"):
        store_user_key(lake, "publisher", KEY)
    store_user_key(lake, "publisher", None)


WITH_USERS = (IMPRESSIONS, ALIASES, HISTORIES)
LINES: list[Line] = [
    json_line("1"),
    json_line("1"),
    json_line("2", clicked=[], history=["n1"]),
    json_line("2", clicked=["n4"], history=["n1"]),
    json_line("3", user_id="u2", shown=["n4", "n3"]),
    json_line("4", user_id="u2", shown=["n3", "n4", "n4"]),
    BAD,
    b"\xff",
]


def test_a_salted_run_gives_the_same_tables_but_for_the_ids(spark: SparkSession, tmp_path: Path) -> None:
    logs = write_logs(tmp_path / "logs", {"a.jsonl": LINES[:4], "b.jsonl.gz": LINES[4:]})
    lakes, summaries = {}, {}
    for key in (KEY, None):
        lake = lakes[key] = Lake(spark, str(tmp_path / str(key is None)))
        find = partial(find_new, log_paths(logs, "auto", None), logs, None)
        summaries[key] = ingest_logs(lake, find, source="publisher", arrived_at=ARRIVED, user_key=key)
    assert summaries[KEY] == summaries[None]
    assert summaries[KEY]["rejected"] == 2

    def content(lake: Lake, table: Table) -> list[tuple[object, ...]]:
        salted = lake is lakes[KEY]
        names = [name for name in table.column_names if name != "user_id"]
        user = (
            F.col("user_id") if salted else F.when(F.col("user_id") == "u1", replaced("u1")).otherwise(replaced("u2"))
        )
        return rows(lake.read(table).select(user, *names))

    for table in WITH_USERS:
        assert content(lakes[KEY], table) == content(lakes[None], table)
    places = [rows(lake.read(REJECTS), "file", "position", "reason") for lake in lakes.values()]
    assert places[0] == places[1]
    kept = [line for table in (RAW_LOG, REJECTS) for (line,) in rows(lakes[KEY].read(table).selectExpr("string(line)"))]
    assert not [line for line in kept if "secret" in line or '"u1"' in line]
