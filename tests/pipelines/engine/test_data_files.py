"""Files that the embedded engine writes and delta-rs commits: what they hold, what Delta's log says, who reads them."""

from __future__ import annotations

import json
import math
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable
from pyspark.sql import DataFrame

from pipelines.delta.commits import Changes
from pipelines.delta.log import open_table
from pipelines.engine import embedded_writer
from pipelines.engine.data_files import write_files
from pipelines.lake.tables import Lake
from pipelines.session import is_embedded
from schemas.errors import ContractError, InputError
from schemas.table import Check, Column, Table
from tests.builders import rows
from trainer.eval.lake_rows import query

SEEN = Table(
    name="seen",
    meaning="a table of tests with every type",
    columns=(
        Column("source", "string", "part"),
        Column("day", "date", "part", nullable=True),
        Column("word", "string", "its key"),
        Column("line", "binary", "bytes", nullable=True),
        Column("time", "timestamp", "when", nullable=True),
        Column("small", "int", "a number", nullable=True),
        Column("large", "long", "a number", nullable=True),
        Column("share", "double", "a number", nullable=True),
        Column("good", "boolean", "a mark", nullable=True),
        Column("texts", "array<string>", "a list", nullable=True),
    ),
    key=("source", "word"),
    partition_by=("source", "day"),
    checks=(Check("short", "length(word) < 100"),),
)
DDL = (
    "source string, day date, word string, line binary, time timestamp, small int, large bigint, share double, "
    "good boolean, texts array<string>"
)
DAY, AT = date(2026, 3, 1), datetime(2026, 3, 1, 9, 30, 15, 123456, tzinfo=UTC)
ROWS: list[tuple[Any, ...]] = [
    ("p's é/ü=%20", DAY, "a", b"\xff\x00", AT, 1, 2**40, 0.5, True, ["x", None]),
    ("p's é/ü=%20", DAY, "b", None, datetime(1960, 1, 1, tzinfo=UTC), -7, -(2**40), -1.5, False, []),
    ("p's é/ü=%20", None, "c", b"", None, None, None, None, None, None),
    ("q", DAY, "d" * 99, b"x", AT, 3, 4, math.inf, True, ["y"]),
    ("q", DAY, "e", b"x", AT, 5, 6, math.nan, True, ["z"]),
]


@pytest.fixture
def lake(spark: Any, tmp_path: Path) -> Lake:
    if not is_embedded(spark):
        pytest.skip("Spark commits the files that it writes")
    return Lake(spark, str(tmp_path / "my lake"))


def frame(lake: Lake, *values: tuple[Any, ...]) -> DataFrame:
    return lake.spark.createDataFrame([*values], DDL)


def added(lake: Lake) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = pa.table(open_table(lake.path(SEEN)).get_add_actions(flatten=True)).to_pylist()
    return found


def parquet_files(lake: Lake) -> list[Path]:
    return sorted(Path(lake.path(SEEN)).rglob("*.parquet"))


def _text(row: tuple[Any, ...]) -> str:
    """The row with bytes and times as either side has them."""
    plain = [bytes(value) if isinstance(value, bytearray) else value for value in row]
    return str([value.replace(tzinfo=None) if isinstance(value, datetime) else value for value in plain])


def test_every_type_and_every_partition_comes_back_by_each_reader(lake: Lake) -> None:
    assert lake.append(SEEN, frame(lake, *ROWS), app_id="t", app_version=1) == 5
    stored = rows(lake.read(SEEN), *SEEN.column_names)
    assert sorted(map(_text, stored)) == sorted(map(_text, ROWS))
    names = {"source": pa.string(), "day": pa.date32(), "word": pa.string(), "small": pa.int32()}
    found = query(lake.path(SEEN), "SELECT * FROM it", names).to_pylist()
    assert sorted(str([row[n] for n in names]) for row in found) == sorted(
        str([dict(zip(SEEN.column_names, row, strict=True))[n] for n in names]) for row in ROWS
    )
    assert (
        sum(pq.ParquetFile(path).metadata.num_rows for path in map(unquote, open_table(lake.path(SEEN)).file_uris()))
        == 5
    )


def test_the_log_says_of_each_file_what_stands_in_it(lake: Lake) -> None:
    lake.append(SEEN, frame(lake, *ROWS), app_id="t", app_version=1)
    by_part: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in ROWS:
        by_part.setdefault(row[:2], []).append(dict(zip(SEEN.column_names, row, strict=True)))
    found: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for file in added(lake):
        assert file["path"].isascii()
        found.setdefault((file["partition.source"], file["partition.day"]), []).append(file)
    assert found.keys() == by_part.keys()
    for part, members in by_part.items():
        files = found[part]
        assert sum(file["num_records"] for file in files) == len(members)
        for name in ("word", "time", "small", "large", "share"):
            values = [row[name] for row in members if row[name] is not None and row[name] == row[name]]
            least = [file.get(f"min.{name}") for file in files]
            greatest = [file.get(f"max.{name}") for file in files]
            assert sum(file[f"null_count.{name}"] for file in files) == sum(row[name] is None for row in members)
            if None not in least:
                assert (min(least), max(greatest)) == (min(values), max(values)), name
            elif name in ("time", "small", "large"):
                assert len(values) < len(members), "left out although each file has such values"
    long = [file for file in added(lake) if file["partition.source"] == "q"]
    assert [
        file.get("max.share") for file in long if file.get("max.share") is not None and math.isinf(file["max.share"])
    ] == []
    assert all(file.get("max.word") != "d" * 99 for file in long), "a bound that writers cut off is no bound"


def test_staged_rows_are_computed_once_and_come_in_by_append_alone(lake: Lake, tmp_path: Path) -> None:
    calls = tmp_path / "calls"

    def noting(batches: Any) -> Any:
        for batch in batches:
            if batch.num_rows:
                with calls.open("a") as file:
                    file.write("x" * batch.num_rows)
            yield batch

    incoming = frame(lake, *ROWS).mapInArrow(noting, DDL)
    with lake.staged(SEEN, incoming) as staged:
        assert staged.frame.count() == 5
        assert lake.read(SEEN).count() == 0
        assert lake.append(SEEN, staged, app_id="t", app_version=1) == 5
    assert lake.read(SEEN).count() == 5
    assert calls.read_text() == "x" * 5
    with lake.staged(SEEN, incoming) as staged:
        assert lake.append(SEEN, staged, app_id="t", app_version=1) == 0
    before = parquet_files(lake)
    with lake.staged(SEEN, incoming):
        assert len(parquet_files(lake)) > len(before)
    assert parquet_files(lake) == before, "what is not appended goes again"
    assert lake.read(SEEN).count() == 5


def test_what_fails_before_its_commit_leaves_neither_table_nor_files(lake: Lake) -> None:
    class Failed(Exception):
        pass

    with pytest.raises(Failed), lake.staged(SEEN, frame(lake, *ROWS)):
        raise Failed
    assert not Path(lake.path(SEEN)).exists()
    lake.append(SEEN, frame(lake, ROWS[0]), app_id="t", app_version=1)
    before, version = parquet_files(lake), lake.version(SEEN)
    for wrong, message in (("w" * 100, "break the rule short"), (None, "rows without word")):
        row = (*ROWS[0][:2], wrong, *ROWS[0][3:])
        with pytest.raises(ContractError, match=message):
            lake.append(SEEN, frame(lake, ROWS[1], row), app_id="t", app_version=2)
    assert parquet_files(lake) == before
    assert (lake.version(SEEN), lake.read(SEEN).count()) == (version, 1)


def test_a_commit_of_which_nobody_knows_whether_it_came_through_keeps_its_files(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = DeltaTable.create_write_transaction

    def lost(*args: Any, **options: Any) -> None:
        commit(*args, **options)
        raise OSError("the answer was lost")

    with monkeypatch.context() as broken:
        broken.setattr(DeltaTable, "create_write_transaction", lost)
        with pytest.raises(OSError, match="the answer was lost"):
            lake.append(SEEN, frame(lake, *ROWS), app_id="t", app_version=1)
    assert lake.read(SEEN).count() == 5


def test_no_rows_are_a_commit_without_files(lake: Lake) -> None:
    assert lake.append(SEEN, frame(lake), app_id="t", app_version=1) == 0
    assert (added(lake), lake.read(SEEN).count()) == ([], 0)
    assert lake.append(SEEN, frame(lake, *ROWS), app_id="t", app_version=1) == 0, "its app has written"
    assert lake.append(SEEN, frame(lake, *ROWS), app_id="t", app_version=2) == 5
    notes = [commit.changes.inserted for commit in lake.commits(SEEN, limit=2)]
    assert notes == [5, 0]


def test_files_that_were_written_are_no_rows_until_they_are_committed(lake: Lake) -> None:
    lake.create(SEEN)
    at = open_table(lake.path(SEEN))
    files = write_files(SEEN, at, lake.path(SEEN), frame(lake, *ROWS))
    assert sum(json.loads(add.stats)["numRecords"] for add in files.adds) == files.rows == 5
    assert lake.read(SEEN).count() == 0
    files.remove()
    assert parquet_files(lake) == []


def test_a_row_that_comes_in_while_others_change_makes_the_change_fail(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It could have the key of one that is changed: the run's error asks for another try."""
    lake.append(SEEN, frame(lake, *ROWS), app_id="t", app_version=1)
    write, late = embedded_writer.write_files, ("q", DAY, "late", *ROWS[0][3:])

    def meanwhile(*args: Any) -> Any:
        broken.setattr(embedded_writer, "write_files", write)  # for the other run
        made = write(*args)
        Lake(lake.spark, lake.root).append(SEEN, frame(lake, late), app_id="other", app_version=1)
        return made

    incoming = frame(lake, ("q", DAY, "e", b"new", *ROWS[4][4:]))
    with monkeypatch.context() as broken:
        broken.setattr(embedded_writer, "write_files", meanwhile)
        with pytest.raises(InputError, match="another run wrote table seen at the same time"):
            lake.merge(SEEN, incoming, set_on_match={"line": "incoming.line"})
    assert rows(lake.read(SEEN).where("word = 'e'"), "line") == [(b"x",)]
    assert lake.read(SEEN).count() == 6
    assert lake.merge(SEEN, incoming, set_on_match={"line": "incoming.line"}) == Changes(updated=1)
    assert rows(lake.read(SEEN).where("word = 'e'"), "line") == [(b"new",)]
    assert lake.read(SEEN).count() == 6
