"""A table whose files are ordered by time: a change of few rows writes few files anew, and no other row changes."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import DataFrame

from pipelines.delta.log import open_table
from pipelines.delta.merge import STORED
from pipelines.engine import region, spans
from pipelines.lake.tables import Lake
from pipelines.session import is_embedded
from schemas.table import Column, Table
from tests.builders import rows

VIEWS = Table(
    name="views",
    meaning="a table of tests",
    columns=(
        Column("view", "string", "its id"),
        Column("time", "timestamp", "when"),
        Column("date", "date", "of the time"),
        Column("text", "string", "long"),
    ),
    key=("view", "time"),
    partition_by=("date",),
    ordered_by="time",
)
FIRST = datetime(1969, 12, 30, tzinfo=UTC)  # spans before 1970 have negative numbers
MINUTES = 3 * 24 * 60


@pytest.fixture
def lake(spark: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lake:
    if not is_embedded(spark):
        pytest.skip("Delta itself chooses the files that Spark writes anew")
    monkeypatch.setattr(spans, "FILE_BYTES", 1 << 10)
    made = Lake(spark, str(tmp_path / "lake"))
    made.append(
        VIEWS,
        views(made, {f"v{n * 7 % MINUTES:05}": n * 7 % MINUTES for n in range(MINUTES)}),
        app_id="t",
        app_version=1,
    )
    return made


def views(lake: Lake, minutes: dict[str, int], text: str = "first") -> DataFrame:
    values = [(view, FIRST + timedelta(minutes=at), text + view) for view, at in minutes.items()]
    frame = lake.spark.createDataFrame(values, "view string, time timestamp, text string")
    return frame.selectExpr("view", "time", "CAST(time AS DATE) AS date", "text")


def files(lake: Lake) -> set[str]:
    return set(open_table(lake.path(VIEWS)).file_uris())


def moved(lake: Lake, minutes: dict[str, int], gone: tuple[str, ...] = ()) -> None:
    """Each of these views, which stand at the minutes of their names, comes to another minute, or goes."""
    values = [
        (view, FIRST + timedelta(minutes=at), "moved", (view, FIRST + timedelta(minutes=int(view[1:]))), view in gone)
        for view, at in minutes.items()
    ]
    shape = "view string, time timestamp, text string, old struct<view: string, time: timestamp>, gone boolean"
    frame = lake.spark.createDataFrame(values, shape)
    lake.change(VIEWS, frame.selectExpr("*", "CAST(time AS DATE) AS date"), where=f"{STORED}.view IS NOT NULL")


def expected(minutes: dict[str, int], gone: tuple[str, ...] = ()) -> list[tuple[Any, ...]]:
    found = []
    for at in range(MINUTES):
        view = f"v{at:05}"
        if view not in gone:
            time = FIRST + timedelta(minutes=minutes.get(view, at))
            found.append(
                (
                    view,
                    time.replace(tzinfo=None),
                    date(time.year, time.month, time.day),
                    "moved" if view in minutes else f"first{view}",
                )
            )
    return sorted(found)


def test_rows_lie_in_files_by_time(lake: Lake) -> None:
    assert len(files(lake)) > 3, "more files than dates"
    assert rows(lake.read(VIEWS)) == expected({})


def test_one_late_row_writes_one_file_anew(lake: Lake) -> None:
    before = files(lake)
    change = {"v00100": 101}
    moved(lake, change)
    assert len(before - files(lake)) == 1
    assert rows(lake.read(VIEWS)) == expected(change)


def test_rows_come_to_other_dates_and_go(lake: Lake) -> None:
    before = files(lake)
    change = {"v00010": 4000, "v01500": 1501, "v01501": 20, "v04000": 4000}
    moved(lake, change, gone=("v04000",))
    assert 0 < len(before - files(lake)) < len(before)
    assert rows(lake.read(VIEWS)) == expected(change, gone=("v04000",))


@pytest.mark.parametrize("few", [0, 3])
def test_many_changes_rewrite_complete_partitions(lake: Lake, monkeypatch: pytest.MonkeyPatch, few: int) -> None:
    monkeypatch.setattr(region, "_FEW_SPANS", few)
    change = {f"v{at:05}": at + 1440 for at in range(0, 2880, 40)}
    moved(lake, change)
    assert rows(lake.read(VIEWS)) == expected(change)
