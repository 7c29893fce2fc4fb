from __future__ import annotations

from datetime import datetime, timedelta

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.ingest.parse.mapping import LogMapping
from pipelines.ingest.parse.time_patterns import pattern_reader, quick_micros
from pipelines.ingest.parse.times import iso_reader, micros_of
from schemas.errors import InputError


def read(text: str, format: str = "iso", zone: str = "UTC") -> datetime | None:
    (micros,) = micros_of(pa.array([text]), LogMapping(time_format=format, time_zone=zone)).to_pylist()
    return None if micros is None else datetime(1970, 1, 1) + timedelta(microseconds=micros)


NINE = datetime(2026, 3, 2, 9, 15, 31)


@pytest.mark.parametrize(
    ("pattern", "text", "time"),
    [
        ("yyyy-MM-dd HH:mm:ss", "2026-03-02 09:15:31", NINE),
        ("yyyy-MM-dd HH:mm:ss", "2026-3-02 09:15:31", None),
        ("yyyy-MM-dd HH:mm:ss", "2026-02-29 09:15:31", None),
        ("yyyy-MM-dd HH:mm:ss", "2026-03-02 24:00:00", None),
        ("yyyyMMddHHmmss", "20260302091531", NINE),
        ("M/d/yyyy h:mm:ss a", "3/2/2026 9:15:31 am", NINE),
        ("M/d/yyyy h:mm:ss a", "3/2/2026 12:15:31 AM", datetime(2026, 3, 2, 0, 15, 31)),
        ("M/d/yyyy h:mm:ss a", "3/2/2026 13:15:31 PM", None),
        ("dd/MMM/yyyy:HH:mm:ss Z", "02/Mar/2026:10:15:31 +0100", NINE),
        ("dd MMMM yy HH.mm.ss,SSS", "02 MARCH 26 09.15.31,25", NINE + timedelta(milliseconds=250)),
        ("yyyy-MM-dd'T'HH:mm:ssXXX", "2026-03-02T09:15:31Z", NINE),
        ("yyyy-MM-dd'T'HH:mm:ssXXX", "2026-03-02T04:15:31-05:00", NINE),
        ("yyyy-MM-dd'T'HH:mm:ssXXX", "2026-03-02T04:15:31-19:00", None),
        ("yyyy-MM-dd HH:mm:ss VV", "2026-03-02 10:15:31 Europe/Oslo", NINE),
        ("yyyy-MM-dd HH:mm:ss z", "2026-03-02 04:15:31 EST", NINE),
        ("yyyy-MM-dd HH:mm:ss VV", "2026-03-02 10:15:31 Mars/Base", None),
        ("yyyy-DDD kk 'o''clock'", "2026-061 24 o'clock", datetime(2026, 3, 2)),
        ("HH:mm yyyy", "09:15 2026", datetime(2026, 1, 1, 9, 15)),
    ],
)
def test_a_pattern_reads_what_it_stands_for(pattern: str, text: str, time: datetime | None) -> None:
    assert read(text, pattern) == time


def test_a_pattern_that_cannot_be_read_is_named() -> None:
    with pytest.raises(InputError, match=r"log\.time_format is 'ddd\.MM': ddd cannot be read"):
        pattern_reader("ddd.MM", "UTC")


def test_clocks_that_are_set_back_and_forward() -> None:
    oslo = [
        read(text, zone="Europe/Oslo") for text in ("2025-10-26T02:30:00", "2026-03-29 02:30:00", "2026-07-01T00:00")
    ]
    assert oslo == [datetime(2025, 10, 26, 0, 30), datetime(2026, 3, 29, 1, 30), datetime(2026, 6, 30, 22)]
    assert read("2026-07-01 02:00:00", "yyyy-MM-dd HH:mm:ss", "Europe/Oslo") == datetime(2026, 7, 1)


parts = st.tuples(
    st.sampled_from([0, 1, 1899, 1900, 1970, 2024, 2026, 2199, 2200, 9999]), st.integers(0, 13), st.integers(0, 32)
)
clocks = st.tuples(st.integers(0, 25), st.integers(0, 61), st.integers(0, 61))


@given(
    st.lists(st.tuples(parts, clocks, st.sampled_from(["", "Z", "+05:30", "-17:59", "+18:00", "+18:01", ".123456Z"])))
)
def test_times_read_all_at_once_are_those_read_one_by_one(
    times: list[tuple[tuple[int, ...], tuple[int, ...], str]],
) -> None:
    texts = ["{:04}-{:02}-{:02}T{:02}:{:02}:{:02}{}".format(*day, *clock, zone) for day, clock, zone in times]
    one = iso_reader("UTC")
    assert micros_of(pa.array(texts, pa.string()), LogMapping()).to_pylist() == [one(text) for text in texts]
    for pattern, form in (
        ("yyyy-MM-dd HH:mm:ss", "{:04}-{:02}-{:02} {:02}:{:02}:{:02}"),
        ("yyyy M d h m s", "{:04} {} {} {} {} {}"),
    ):
        texts = [form.format(*day, *clock) for day, clock, _ in times]
        one = pattern_reader(pattern, "UTC")
        assert quick_micros(pa.array(texts, pa.string()), pattern).to_pylist() == [one(text) for text in texts]


@pytest.mark.parametrize(("format", "text"), [("iso", "0001-01-{}T00:00:00Z"), ("yyyy-MM-dd", "0001-01-{}")])
def test_a_time_that_python_cannot_hold_is_none(format: str, text: str) -> None:
    assert read(text.format("01"), format) is None
    assert read(text.format("02"), format) == datetime(1, 1, 2)
