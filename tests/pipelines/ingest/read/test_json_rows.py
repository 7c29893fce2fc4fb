from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.ingest.read.json_rows import iso_of, json_lines

TEXTS = st.none() | st.text(max_size=5) | st.sampled_from(['"', "\\", "\n", "\x00", "\x7f", "\u2028", "", "a, b"])
LISTS = st.none() | st.lists(TEXTS, max_size=3)
ROWS = st.lists(st.tuples(TEXTS, LISTS, st.none() | st.integers(-(2**63), 2**63 - 1)), max_size=4)


@given(rows=ROWS, skipped=st.integers(0, 2))
def test_each_row_is_one_json_object_on_one_line_without_its_nulls(
    rows: list[tuple[str | None, list[str | None] | None, int | None]], skipped: int
) -> None:
    columns = {
        'a "text"': pa.array([row[0] for row in rows], pa.string()).slice(skipped),
        "list": pa.array([row[1] for row in rows], pa.list_(pa.string())).slice(skipped),
        "number": pa.array([row[2] for row in rows], pa.int64()).slice(skipped),
    }
    lines = json_lines(columns).to_pylist()
    expected = [dict(zip(columns, row, strict=True)) for row in rows[skipped:]]
    assert [json.loads(line) for line in lines] == [
        {name: value for name, value in row.items() if value is not None} for row in expected
    ]
    assert not [line for line in lines if b"\n" in line or b" :" in line]


@pytest.mark.parametrize("zone", ["UTC", "Europe/Copenhagen", "America/St_Johns"])
@given(local=st.lists(st.datetimes(datetime(1970, 1, 1), datetime(2037, 1, 1)), max_size=5))
def test_times_of_a_clock_become_those_of_utc(zone: str, local: list[datetime]) -> None:
    texts = iso_of(pa.array(local, pa.timestamp("us")), zone).to_pylist()
    for text, each in zip(texts, local, strict=True):
        assert datetime.fromisoformat(text) == each.replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)
        assert len(text) == len("2026-03-02T09:15:31.000000Z")


def test_times_with_a_zone_are_what_they_are_and_the_last_years_have_no_others_behind_them() -> None:
    aware = datetime(2026, 3, 2, 11, 15, tzinfo=timezone(timedelta(hours=2)))
    assert iso_of(pa.array([aware, None], pa.timestamp("us", "UTC")), "America/New_York").to_pylist() == [
        "2026-03-02T09:15:00.000000Z",
        None,
    ]
    ends = pa.array([datetime(1, 1, 1), datetime(9999, 12, 31, 23, 59)], pa.timestamp("us"))
    assert iso_of(ends, "America/New_York").to_pylist()[1] == "9999-12-31T23:59:59.999999Z"
    assert iso_of(ends, "Asia/Tokyo").to_pylist()[0] == "0001-01-01T00:00:00.000000Z"
