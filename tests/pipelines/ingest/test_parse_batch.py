"""The parser of batches against a slow, simple one; and both engines against it."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyspark.sql import SparkSession

from pipelines.ingest.parse import lines as parse
from pipelines.ingest.parse.lines import EARLIEST, parse_batch, parse_batches, with_parsed
from pipelines.ingest.parse.mapping import EACH, Extra, ListForm, LogMapping
from tests.builders import ARRIVED, json_line, raw_logs
from tests.pipelines.ingest.parse_reference import reference
from tests.pipelines.ingest.test_mutated_lines import MUTATIONS, json_lines, mind_lines, mutated

NESTED = {"impression_id": "e.id", "user_id": "e.user.id", "time": "e.at", "history": "e.user.recent"}
MAPPINGS = {
    "own": LogMapping(),
    "nested": LogMapping(
        columns=NESTED | {"shown": "page.items", "clicked": "page.clicks"},
        extra={"device": Extra("e.device"), "slot": Extra("page.slot")},
        time_zone="Europe/Oslo",
        clicked_as="marks",
    ),
    "objects": LogMapping(
        columns=NESTED | {"shown": "page.items", "clicked": "page.items"},
        lists={"shown": ListForm(field="news.id"), "clicked": ListForm(field="hit")},
        time_format="epoch_milliseconds",
        clicked_as="marks",
    ),
    "texts": LogMapping(
        columns=NESTED | {"shown": "page.items"},
        lists={"history": ListForm(split=" "), "shown": ListForm(split=",")},
        time_format="epoch_seconds",
        clicked_as="suffixes",
    ),
    "clicks": LogMapping(columns={"user_id": "user_id", "time": "time", "clicked": "clicked"}, clicked_as="id"),
    "odd names": LogMapping(
        columns={"impression_id": '"a.b"', "user_id": '"æ/b"', "time": "i", "shown": '"a long name of a list"'}
    ),
}
ODD_TEXTS = (
    "",
    " ",
    "n 1",
    "-1",
    "n1-1",
    "n2-0",
    "n-",
    "æ",
    "a\u00a0b",
    "\\",
    "x\u2028",
    "\x7f",
    "7",
    "1.5",
    "[1]",
    "i" * 257,
)
TIMES = (
    *("2026-03-02T09:15:31Z", "2026-03-02 10:15:31", "2026-03-02T09:15:31.123456789+05:30", "20260302T091531Z"),
    *(
        "2026-02-29T09:15:31Z",
        "2024-02-29T09:15:31Z",
        "2026-03-02T09:15",
        "2026-03-02T24:00:00Z",
        "1989-12-31T23:59:59Z",
    ),
    *(
        "2026-03-02T09:15:60Z",
        "2026-03-02T09:15:31+18:01",
        "2026-03-29T02:30:00",
        "2025-10-26T02:30:00",
        "9999-12-31T23:59:59-18:00",
    ),
    *("1772442931", "1772442931000", "1772442931.5", "1.772442931e9", "2026-04-31T00:00:00Z", "0000-01-01T00:00:00Z"),
)
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    st.sampled_from([1772442931, 1772442931000, 2**53, 2**63, 10**30, 1.0, 1.5, 1772442931.25, 1e22]),
    st.sampled_from([*ODD_TEXTS, *TIMES]),
    st.sampled_from([f"n{at}" for at in range(9)]),
)
news = st.sampled_from([f"n{at}" for at in range(9)])
ids = st.one_of(news, st.integers(0, 9), scalars)
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(news, inner, max_size=3))
odd_lists = st.lists(ids, max_size=5) | st.lists(st.sampled_from([0, 1, "0", "1", True, 2, None]), max_size=5)
odd_texts = st.sampled_from(["[n1-0, 'n2-1']", "[1.0, 2.5]", " n1  n2 ", "n1,n2-1", "n1-1,", "n1\tn2", "", "('7',)"])
GOOD_TIMES = {"iso": TIMES[:4], "epoch_seconds": (1772442931, "1772442931.5"), "epoch_milliseconds": (1772442931000,)}


def good_record(draw: st.DrawFn, mapping: LogMapping) -> dict[str, Any]:
    """The fields of a good impression by our own names, as its log writes them."""
    number = draw(st.sampled_from([str, str, str, lambda id: int(id[1:])]))
    history, shown = ([number(id) for id in draw(st.lists(news, max_size=4, min_size=least))] for least in (0, 1))
    hits = [draw(st.booleans()) for _ in shown]
    clicked: Any = [id for id, hit in zip(shown, hits, strict=True) if hit]
    record = {"impression_id": draw(news), "user_id": number(draw(news)), "history": history, "shown": shown}
    record |= {"time": draw(st.sampled_from(GOOD_TIMES[mapping.time_format])), "device": "phone", "slot": 3}
    if mapping.clicked_as == "marks":
        clicked = [draw(st.sampled_from([int(hit), hit, str(int(hit))])) for hit in hits]
    if mapping.clicked_as == "id":
        clicked = number(draw(news))
    for name, form in mapping.lists.items():
        if form.split and name == "shown":
            record[name] = form.split.join(f"{id}-{int(hit)}" for id, hit in zip(shown, hits, strict=True))
        elif form.split:
            record[name] = form.split.join(map(str, history))
    return record | {"clicked": draw(st.sampled_from([clicked, clicked, None]))}


def record_of(draw: st.DrawFn, mapping: LogMapping) -> dict[str, Any]:
    """A good impression as the log nests it, or one of which a field is odd or absent."""
    fields = good_record(draw, mapping)
    odd = draw(st.sampled_from([None, None, None, *mapping.paths]))
    if odd is not None:
        times = st.sampled_from(TIMES) | st.sampled_from([1772442931, 1772442931000, 1772442931.25])
        fields[odd] = draw(times if odd == "time" else st.one_of(values, ids, odd_lists, odd_texts))
    if mapping.lists.get("shown", ListForm(split=" ")).field and isinstance(fields["shown"], list):
        marks = fields["clicked"] if isinstance(fields["clicked"], list) else []
        marks = [*marks, *fields["shown"]][: len(fields["shown"])]
        fields["shown"] = [{"news": {"id": id}, "hit": hit} for id, hit in zip(fields["shown"], marks, strict=True)]
    record: dict[str, Any] = {"more": draw(values)}
    for name, path in mapping.paths.items():
        plain = path[: path.index(EACH)] if EACH in path else path
        if (EACH in path and name == "clicked") or draw(st.integers(0, 29)) == 0:
            continue
        place = record
        for part in plain[:-1]:
            place = place.setdefault(part, {})
        place[plain[-1]] = fields[name]
    return record


@st.composite
def lines_of(draw: st.DrawFn, mapping: LogMapping) -> list[bytes]:
    """Lines of JSON in several styles, some of them mutated, some with a field twice or an escape for a letter."""
    lines = []
    for _ in range(draw(st.integers(1, 6))):
        record = record_of(draw, mapping)
        separators = draw(st.sampled_from([(", ", ": "), (",", ":"), (" ,\t", " : ")]))
        indent = draw(st.sampled_from([None, None, None, 1]))
        text = json.dumps(record, ensure_ascii=draw(st.booleans()), separators=separators, indent=indent)
        if draw(st.integers(0, 9)) == 0:
            text = text.replace("i", "\\u0069")
        line = text.encode("utf-8", "surrogatepass")
        if draw(st.integers(0, 7)) == 0:
            pick = random.Random(draw(st.integers(0, 2**32)))
            line = pick.choice(MUTATIONS)(pick, line, json_line().encode())
        lines.append(line)
    return lines


def batch_of(lines: Sequence[bytes], format: str) -> pa.RecordBatch:
    columns = {
        "line": pa.array(lines, pa.binary()),
        "format": pa.array([format] * len(lines)),
        "arrived_at": pa.array([ARRIVED] * len(lines), pa.timestamp("us", "UTC")),
    }
    return pa.RecordBatch.from_arrays(list(columns.values()), list(columns))


def expected(line: bytes, mapping: LogMapping) -> dict[str, Any]:
    return reference(line, mapping, ARRIVED, EARLIEST)


def check(lines: Sequence[bytes], mapping: LogMapping, found: list[dict[str, Any]]) -> None:
    for line, row in zip(lines, found, strict=True):
        wanted = expected(line, mapping)
        assert {name: row[name] for name in wanted} == wanted, line


@pytest.mark.parametrize("name", MAPPINGS)
def test_a_batch_is_parsed_as_line_by_line(name: str) -> None:
    mapping = MAPPINGS[name]

    @settings(max_examples=60)
    @given(lines_of(mapping))
    def same(lines: list[bytes]) -> None:
        parsed = parse_batch(batch_of(lines, mapping.as_format), mapping.as_format)
        parsed.validate(full=True)
        check(lines, mapping, parsed.to_pylist())

    same()


def test_mutated_lines_are_parsed_as_line_by_line() -> None:
    lines = mutated(json_lines())[:-2]
    check(lines, LogMapping(), parse_batch(batch_of(lines, "jsonl"), "jsonl").to_pylist())


def same_table(spark: SparkSession, lines: Sequence[bytes], format: str) -> None:
    """The engine gives each row as the function over Arrow does, all columns of it."""
    wanted = parse_batch(batch_of(lines, format), format)
    names = [name for name in wanted.schema.names if name not in ("arrived_at", "line")]
    frame = with_parsed(raw_logs(spark, *lines, format=format), format).select("position", *names)
    found = sorted((row.asDict() for row in frame.collect()), key=lambda row: row.pop("position"))
    rows = [{name: naive(value) for name, value in row.items() if name in names} for row in wanted.to_pylist()]
    assert found == rows


def naive(value: Any) -> Any:
    return value.replace(tzinfo=None) if isinstance(value, datetime) else value


@pytest.mark.parametrize("format", ["jsonl", "mind"])
def test_the_engine_parses_mutated_lines_as_the_function_does(spark: SparkSession, format: str) -> None:
    same_table(spark, mutated(json_lines() if format == "jsonl" else mind_lines())[:2_500], format)


@pytest.mark.parametrize("name", MAPPINGS)
def test_the_engine_parses_lines_of_mappings_as_the_function_does(spark: SparkSession, name: str) -> None:
    mapping = MAPPINGS[name]

    @settings(max_examples=1, derandomize=True, database=None)
    @given(st.lists(lines_of(mapping), min_size=8, max_size=8))
    def same(some: list[list[bytes]]) -> None:
        same_table(spark, [line for lines in some for line in lines], mapping.as_format)

    same()


def test_json_is_read_as_deep_as_500_levels_wherever_it_is_read() -> None:
    deep = {
        levels: json_line(more=1).replace(": 1}", ": " + "[" * levels + "]" * levels + "}") for levels in (499, 500)
    }
    lines = [line.encode() for line in deep.values()]

    def reasons(calls: int) -> list[str | None]:
        if calls:
            return reasons(calls - 1)
        return parse_batch(batch_of(lines, "jsonl"), "jsonl").column("reason").to_pylist()

    assert reasons(0) == reasons(200) == [None, "not_json"]
    wide = json_line(more=[{}] * 2000)
    assert parse_batch(batch_of([wide.encode()], "jsonl"), "jsonl").column("reason").to_pylist() == [None]


def test_names_that_end_alike_are_other_names() -> None:
    mapping = LogMapping(columns={"impression_id": "a_long_name_of_an_id", "user_id": "id", "time": "at", "shown": "s"})
    line = {
        "a_long_name_of_an_id": "i",
        "b_long_name_of_an_id": "j",
        "id": "u",
        "an_id": "v",
        "at": "2026-03-02 09:15:31",
    }
    lines = [json.dumps(line | {"s": ["n"]}).encode()] * 2
    check(lines, mapping, parse_batch(batch_of(lines, mapping.as_format), mapping.as_format).to_pylist())


def test_a_batch_may_be_part_of_another_and_is_parsed_in_parts_of_few_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = mutated(json_lines())[:300]
    every = batch_of([b"{}", *lines, b"x"], "jsonl")
    wanted = parse_batch(batch_of(lines, "jsonl"), "jsonl").to_pylist()
    assert parse_batch(every.slice(1, len(lines)), "jsonl").to_pylist() == wanted
    monkeypatch.setattr(parse, "_BYTES", 5_000)
    some = [*parse_batches([every.slice(1, len(lines))], format="jsonl", earliest=EARLIEST, drop_repeats=True)]
    assert len(some) > 3
    assert [row for batch in some for row in batch.to_pylist()] == wanted
