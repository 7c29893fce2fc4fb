"""Every form of log_forms.py, read as far as possible without an entire ingest."""

from __future__ import annotations

import json
import re
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyspark.sql import SparkSession

from pipelines.ingest.discover.json_arrays import elements, is_array
from pipelines.ingest.discover.log_file import LogFile
from pipelines.ingest.discover.sources import find_logs
from pipelines.ingest.parse.lines import PARSED_FIELDS as FIELDS
from pipelines.ingest.parse.lines import with_parsed
from pipelines.ingest.parse.mapping import LogMapping
from pipelines.ingest.parse.mapping_file import read_mapping
from pipelines.ingest.read.rows import RowPiece, parquet_batches
from schemas.errors import InputError
from tests.builders import json_line, raw_logs, rows
from tests.pipelines.ingest.log_forms import AT, EXPECTED, FORMS, OBJECT, SECONDS, Form, lines, parquet

PARQUET = [name for name, form in FORMS.items() if form.name.endswith(".parquet")]
JSON = [name for name in FORMS if name not in PARQUET]


def found(folder: Path, form: Form) -> tuple[LogFile, LogMapping]:
    mapping = read_mapping(form.put(folder))
    (file,) = find_logs(folder, mapping=mapping).files
    return file, mapping


def read_rows(
    file: LogFile, mapping: LogMapping, skip: int = 0
) -> list[tuple[dict[str, list[Any]], list[dict[str, Any]]]]:
    """The places of the rows of each batch, and their fields."""
    piece = RowPiece(file.name, str(file.path), (0, None), first=0, skip=skip, end=file.lines, size=file.bytes)
    batches = parquet_batches([piece], paths_of=lambda _: mapping.paths, mapping=mapping)
    return [({name: of.to_pylist() for name, of in place.items()}, rows.to_pylist()) for place, rows in batches]


@pytest.mark.parametrize("name", PARQUET)
def test_each_form_of_parquet_is_read(tmp_path: Path, name: str) -> None:
    form = FORMS[name]
    file, mapping = found(tmp_path, form)
    ((place, (row,)),) = read_rows(file, mapping, skip=1)  # the second impression: the first was read before
    assert place == {"file": [file.name], "position": [1]}
    assert (row["impression_id"], row["user_id"]) == EXPECTED[1][:2]
    if mapping.is_list("history"):
        assert row["history"] == []
    if mapping.is_list("shown"):
        assert row["shown"] == ["13", "14"]
    if not isinstance(row["time"], str):
        assert row["time"].replace(tzinfo=None) == AT - timedelta(seconds=form.seconds)


@pytest.mark.parametrize("formats", [JSON[at::6] for at in range(6)], ids=str)
def test_each_form_of_json_is_parsed(spark: SparkSession, tmp_path: Path, formats: list[str]) -> None:
    """Few queries: lines of one RAW_LOG.format are parsed together."""
    lines_of: dict[str, list[tuple[str, bytes]]] = {}
    for name in formats:
        file, _ = found(tmp_path / name, FORMS[name])
        text = file.path.read_bytes().removeprefix(b"\xef\xbb\xbf")
        some = elements(file.path) if is_array(file.path) else text.splitlines()
        lines_of.setdefault(file.lines_format, []).extend((name, line) for line in some)
    for format, given in lines_of.items():
        parsed = rows(with_parsed(raw_logs(spark, *(line for _, line in given)), format), "position", *FIELDS, "reason")
        for position, *fields in parsed:
            late = timedelta(seconds=FORMS[given[position][0]].seconds)
            id, user, time, *lists = EXPECTED[position % 2]
            assert (given[position][0], fields) == (given[position][0], [id, user, time - late, *lists, None])


def look(folder: Path, form: Form) -> str:
    with pytest.raises(InputError) as caught:
        found(folder, form)
    assert f"data/{form.name}: " in str(caught.value)  # the file is named
    return str(caught.value)


FLOATS = [1541.5, 1542.0]
PAIRS = pa.array([[(12, 1)], [(13, 0)]], pa.list_(OBJECT))


@pytest.mark.parametrize(
    ("form", "message"),
    [
        (Form(write=parquet(user_id=FLOATS)), r"column user_id is double and holds 1541\.5, which is no id"),
        (
            Form(write=parquet(shown=[[float(2**53)], [1.0]])),
            r"column shown is list<.*: double> and holds 9007199254740992",
        ),
        (Form(write=parquet(user_id=[b"\xff", b"8"])), r"column user_id is binary and holds b'\\xff'"),
        (
            Form(write=parquet(user_id=[True, False])),
            r"column user_id is bool, and user_id cannot be read from that type",
        ),
        (Form(write=parquet(time=[SECONDS] * 2)), r"column time is int64, and times are read as iso.*epoch_seconds"),
        (Form(write=parquet(time=pa.array([1, 2], pa.time64("us")))), r"column time is time64\[us\], and time cannot"),
        (Form(write=parquet(shown=["12 13", "13"])), r'column shown is string.*from a list.*split = " "'),
        (Form(write=parquet(shown=PAIRS)), r"column shown is list<.*name the field of it that is the id"),
        (Form(write=parquet(user_id=None, User_ID=["7", "8"])), r"no column user_id; .*Names are compared exactly"),
        (
            Form(write=parquet(user_id=[[7], [8]])),
            r"column user_id is list<.*: int64>, and user_id is a single value",
        ),
        (Form(write=lines(encoding="utf-16"), name="a.jsonl"), r"is UTF-16, and logs are read as UTF-8.*iconv"),
        (Form(write=lines(encoding="utf-16-le"), name="a.jsonl"), r"is UTF-16"),
        (Form(write=lines(encoding="utf-32"), name="a.json"), r"is UTF-32"),
        (Form(write=lines(time=lambda _: SECONDS), name="a.jsonl"), r"number 1573798502 in time.*epoch_seconds"),
        (Form(write=lines(history=lambda _: "10 11"), name="a.jsonl"), r"a text in history.*split"),
        (Form(write=lines(shown=lambda _: [{"id": 1}]), name="a.jsonl"), r"objects in the list shown.*\['id'\].*field"),
        (Form(write=lambda path: path.write_text("[{},"), name="a.json"), r"begins as one JSON array and is not one"),
        (Form(write=lambda path: path.write_text("[{}]"), name="a.json"), r"no record of its array.*lacks"),
    ],
)
def test_what_cannot_be_read_is_refused_by_file_and_column(tmp_path: Path, form: Form, message: str) -> None:
    assert re.search(message, look(tmp_path, form)), look(tmp_path / "again", form)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32"])
def test_a_first_line_in_another_encoding_is_one_line_that_is_refused(tmp_path: Path, encoding: str) -> None:
    logs = tmp_path / "logs"
    logs.mkdir()
    lines = [json_line("1").encode(encoding), *(json_line(str(n)).encode() for n in (2, 3))]
    (logs / "a.jsonl").write_bytes(b"".join(line + b"\n" for line in lines))
    (file,) = find_logs(tmp_path).files
    assert file.lines == 3


def test_times_at_the_ends_of_nanoseconds_are_read_to_the_microsecond(tmp_path: Path) -> None:
    ends = np.array([-(2**63) + 1, 2**63 - 1])
    file, mapping = found(tmp_path, Form(write=parquet(time=pa.array(ends, pa.timestamp("ns")))))
    ((_, batch),) = read_rows(file, mapping)
    assert [row["time"] for row in batch] == [
        datetime(1677, 9, 21, 0, 12, 43, 145224),
        datetime(2262, 4, 11, 23, 47, 16, 854775),
    ]


def test_a_time_beyond_all_years_stops_no_run(tmp_path: Path) -> None:
    far = pa.array([2**62, -(2**62)], pa.timestamp("ms", "UTC"))
    file, mapping = found(tmp_path, Form(write=parquet(time=far)))
    ((_, batch),) = read_rows(file, mapping)
    assert [row["time"].year for row in batch] == [9999, 1]


def strict(spark: SparkSession, *given: str) -> list[tuple[Any, ...]]:
    parsed = with_parsed(raw_logs(spark, *given), "jsonl")
    return [row[1:] for row in sorted(rows(parsed, "position", "impression_id", "shown", "reason"))]


def test_json_is_what_rfc_8259_says_and_a_number_is_an_id_if_it_is_an_integer(spark: SparkSession) -> None:
    good = json_line(7)  # type: ignore[arg-type]

    def number(text: str) -> str:
        return good.replace("7", text, 1)

    names = good[:-1] + ', "Impression_ID": 8, "SHOWN": []}'
    given = {
        good: ("7", None),
        number("7.0"): ("7", None),
        number("7e0"): ("7", None),
        number('"7.0"'): ("7.0", None),
        number('"1.5"'): ("1.5", None),
        number("12345678901234567890"): ("12345678901234567890", None),
        names: ("7", None),  # names are compared exactly: these are other fields
        number("1.5"): (None, "missing_field"),
        number("1e400"): (None, "missing_field"),
        number("9007199254740992.0"): (None, "missing_field"),
        number("NaN"): (None, "not_json"),
        good.replace('"', "'"): (None, "not_json"),
        good[:-1] + ", 'x': 1}": (None, "not_json"),
        good[:-1] + ', "x": -Infinity}': (None, "not_json"),
        good.replace('"impression_id"', '"Impression_ID"'): (None, "missing_field"),
        json_line(shown=[3.0, 1e7, "n4"], clicked=[3]): ("i1", None),
    }
    found = strict(spark, *given)
    assert [(id, reason) for id, _, reason in found] == list(given.values())
    assert found[-1][1] == ["3", "10000000", "n4"]


def test_a_name_given_twice_in_an_object_of_a_list_is_refused(spark: SparkSession) -> None:
    columns = {"impression_id": "i", "user_id": "u", "time": "t", "shown": "s"}
    text = json.dumps({"columns": columns, "extra": {}, "lists": {"shown": {"split": "", "field": "n.id"}}})
    format = json.dumps(json.loads(text) | {"time_format": "iso", "time_zone": "UTC", "clicked_as": "ids"})
    line = '{{"i": 1, "u": 2, "t": "2026-03-02T09:15:31Z", "s": [{{"n": {{"id": 3{} }}, "x": 1, "x": 2}}]}}'
    given = [line.format(more) for more in ("", ', "y": 1, "y": 2', ', "id": 4')]
    found = rows(with_parsed(raw_logs(spark, *given), format), "position", "shown", "reason")
    assert found == [(0, ["3"], None), (1, ["3"], None), (2, ["4"], "duplicate_field")]


def test_an_earlier_year_is_read_if_asked_for(spark: SparkSession) -> None:
    raw = raw_logs(spark, json_line(time="1989-12-31T23:59:59Z"), json_line(time="1990-01-01T00:00:00Z"))
    assert [reason for (reason,) in rows(with_parsed(raw, "jsonl"), "reason")] == ["bad_time", None]
    earlier = rows(with_parsed(raw, "jsonl", date(1960, 1, 1)), "reason")
    assert earlier == [(None,), (None,)]
