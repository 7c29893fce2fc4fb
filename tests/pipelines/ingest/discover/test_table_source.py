"""A Delta table as a source of logs, on either engine; what only Spark can write of it has a test for Spark alone."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake
from pyspark.sql import SparkSession

from pipelines.ingest.discover.sources import Found
from pipelines.ingest.discover.table_source import find_in_table
from pipelines.ingest.parse.lines import PARSED_FIELDS
from pipelines.ingest.parse.mapping import LogMapping
from pipelines.ingest.parse.mapping_file import read_mapping
from pipelines.session import is_embedded
from schemas.errors import InputError
from tests.builders import rows
from tests.pipelines.ingest.discover.test_sources import known
from tests.pipelines.ingest.read.test_rows import NINE, PRESETS, parsed

DELTA = read_mapping(PRESETS / "delta.toml")
B85 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%&()*+-;<=>?@^_`{|}~"
Z85 = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#"


def delta_log(path: Path, *ids: str, **more: Any) -> str:
    """One more file of each section, by the delta preset; New York is five hours behind."""
    count = len(ids)
    columns: dict[str, Any] = {
        "impression": list(ids),
        "visitor": ["u1"] * count,
        "ts": pa.array([NINE.replace(hour=4)] * count, pa.timestamp("us")),
        "clicked_before": [["n1"]] * count,
        "articles": [["n3", "n4"]] * count,
        "clicked_articles": [["n4"]] * count,
        "section": [f"s{at % 2}" for at in range(count)],
    }
    write_deltalake(path, pa.table(columns | more), mode="append", partition_by=["section"], schema_mode="merge")
    return str(path)


def last_commit(path: Path) -> tuple[Path, list[dict[str, Any]]]:
    """The file of the table's last commit, and its actions."""
    file = max((path / "_delta_log").glob("*.json"))
    return file, [json.loads(line) for line in file.read_text().splitlines()]


def written(file: Path, actions: Sequence[object]) -> None:
    file.write_text("".join(json.dumps(action) + "\n" for action in actions))


def deleted(*rows: int) -> dict[str, Any]:
    """A deletion vector that is inside of the log: a roaring bitmap of these rows, an even number of them."""
    head = struct.pack("<IQIIIHHI", 1681511377, 1, 0, 12346, 1, 0, len(rows) - 1, 16)
    vector = head + struct.pack(f"<{len(rows)}H", *rows)
    text = base64.b85encode(vector).decode().translate(str.maketrans(B85, Z85))
    return {"storageType": "i", "pathOrInlineDv": text, "sizeInBytes": len(vector), "cardinality": len(rows)}


def delete_rows(path: Path, *rows: int) -> None:
    """A commit that deletes rows of the table's last file, as Spark and others do: by a deletion vector."""
    file, actions = last_commit(path)
    added = next(action["add"] for action in actions if "add" in action)
    first = (path / "_delta_log" / f"{0:020}.json").read_text().splitlines()
    metadata = next(json.loads(line) for line in first if "metaData" in line)
    metadata["metaData"]["configuration"] = {"delta.enableDeletionVectors": "true"}
    features = ["deletionVectors", "timestampNtz"]
    protocol = {"minReaderVersion": 3, "minWriterVersion": 7, "readerFeatures": features, "writerFeatures": features}
    removed = {"path": added["path"], "deletionTimestamp": 1, "dataChange": True}
    again = {"add": added | {"deletionVector": deleted(*rows)}}
    actions = [{"protocol": protocol}, metadata, {"remove": removed}, again]
    written(file.with_name(f"{int(file.stem) + 1:020}.json"), actions)


def test_a_delta_table_by_the_example_mapping_only_in_its_current_version(spark: SparkSession, tmp_path: Path) -> None:
    path = tmp_path / "a table+1"
    delta_log(path, "gone")
    DeltaTable(path).delete()
    delta_log(path, "i1", "i2")
    delta_log(path, "i3", section=["s 2/é%20"])
    found = find_in_table(str(path), DELTA, {})
    delta_log(path, "later")
    frame = parsed(spark, found)
    assert rows(frame, *PARSED_FIELDS, "section", "reason") == [
        (name, "u1", NINE, ["n1"], ["n3", "n4"], ["n4"], section, None)
        for name, section in (("i1", "s0"), ("i2", "s1"), ("i3", "s 2/é%20"))
    ]
    assert {file for (file,) in rows(frame, "file")} == {file.name for file in found.files}
    assert all(file.name.startswith("section=s") for file in found.files)


def test_rows_that_deletion_vectors_name_are_none(spark: SparkSession, tmp_path: Path) -> None:
    path = tmp_path / "t %20 [1]"
    delta_log(tmp_path / "t", "i1", "i2", "i3", "i4", "i5", section=["a/b"] * 5)
    delete_rows(tmp_path / "t", 1, 2)
    (tmp_path / "t").rename(path)
    found = find_in_table(str(path), DELTA, {})
    assert [file.lines for file in found.files] == [3]
    assert rows(parsed(spark, found), "position", "impression_id") == [(0, "i1"), (1, "i4"), (2, "i5")]


def test_rows_of_a_delta_table_without_statistics_are_counted(spark: SparkSession, tmp_path: Path) -> None:
    path = tmp_path / "t [1]"
    delta_log(tmp_path / "t", "i1", "i2", "i3")
    (tmp_path / "t").rename(path)
    file, actions = last_commit(path)
    for action in actions:
        action.get("add", {}).pop("stats", None)
    written(file, actions)
    found = find_in_table(str(path), DELTA, {})
    assert sorted(file.lines for file in found.files) == [1, 2]
    assert rows(parsed(spark, found), "impression_id") == [("i1",), ("i2",), ("i3",)]


def test_of_a_delta_table_only_files_that_came_since_are_read(spark: SparkSession, tmp_path: Path) -> None:
    table = delta_log(tmp_path / "t", "i1")
    before = {file.name: known(file) for file in find_in_table(table, DELTA, {}).files}
    assert find_in_table(table, DELTA, before) == Found(files=[])
    delta_log(tmp_path / "t", "i2")
    assert rows(parsed(spark, find_in_table(table, DELTA, before)), "impression_id") == [("i2",)]


def test_a_column_that_came_later_is_null_in_older_files(spark: SparkSession, tmp_path: Path) -> None:
    table = delta_log(tmp_path / "t", "i1")
    delta_log(tmp_path / "t", "i2", page=[{"kind": "front", "other": 1}])
    delta_log(tmp_path / "t", "i3", page=[{"other": 1, "screen": {"width": 7}}])
    columns = {name: {"column": f"page.{column}"} for name, column in (("kind", "kind"), ("width", "screen.width"))}
    text = (PRESETS / "delta.toml").read_text()
    for name, form in columns.items():
        text += f'{name} = "{form["column"]}"\n'
    (tmp_path / "m.toml").write_text(text)
    frame = parsed(spark, find_in_table(table, read_mapping(tmp_path / "m.toml"), {}))
    assert rows(frame, "impression_id", "kind", "width", "reason") == [
        ("i1", None, None, None),
        ("i2", "front", None, None),
        ("i3", None, "7", None),
    ]


def test_times_of_a_zone_are_those_of_its_own_clock(spark: SparkSession, tmp_path: Path) -> None:
    """In New York the clock goes back from 2:00 to 1:00 on 1 November 2026, and on from 2:00 to 3:00 on 8 March."""
    local = [datetime(2026, 11, 1, 1, 30), datetime(2026, 3, 8, 2, 30), datetime(2026, 3, 2, 4, 15)]
    table = delta_log(tmp_path / "t", "i1", "i2", "i3", ts=pa.array(local, pa.timestamp("us")))
    lines = [json.loads(line) for (line,) in rows(parsed(spark, find_in_table(table, DELTA, {})), "line")]
    assert sorted((line["impression_id"], line["time"]) for line in lines) == [
        ("i1", "2026-11-01T05:30:00.000000Z"),
        ("i2", "2026-03-08T07:30:00.000000Z"),
        ("i3", "2026-03-02T09:15:00.000000Z"),
    ]


def test_a_clone_whose_files_lie_elsewhere_is_refused(tmp_path: Path) -> None:
    table = delta_log(tmp_path / "events", "i1")
    file, actions = last_commit(tmp_path / "events")
    for action in actions:
        if "add" in action:
            action["add"]["path"] = f"file:{table}/{action['add']['path']}"
    written(file, actions)
    with pytest.raises(InputError, match=r"lies outside the table.*Name the table that holds it"):
        find_in_table(table, DELTA, {})


def test_a_delta_table_that_cannot_be_read_says_why(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no Delta table there"):
        find_in_table(str(tmp_path / "nowhere"), DELTA, {})
    table = delta_log(tmp_path / "t", "i1")
    other = LogMapping(columns=dict(DELTA.columns) | {"user_id": "who"}, format="delta")
    with pytest.raises(InputError, match=r"no column who; its columns are impression, visitor"):
        find_in_table(table, other, {})
    other = LogMapping(columns=dict(DELTA.columns) | {"shown": "section"}, format="delta")
    with pytest.raises(InputError, match=r"t: its column section is string, and shown is read from a list"):
        find_in_table(table, other, {})
    DeltaTable(table).delete()
    with pytest.raises(InputError, match="no rows in its current version"):
        find_in_table(table, DELTA, {})
    last_commit(tmp_path / "t")[0].write_text("rubbish")
    with pytest.raises(InputError, match="the Delta table cannot be read"):
        find_in_table(table, DELTA, {})


def test_a_table_that_spark_wrote_with_deletion_vectors_and_renamed_columns(
    spark: SparkSession, tmp_path: Path
) -> None:
    if is_embedded(spark):
        pytest.skip("only Spark writes such a table")
    table = str(tmp_path / "a table")
    kinds = "impression STRING, visitor STRING, ts TIMESTAMP_NTZ, before ARRAY<STRING>, day DATE, "
    kinds += "slate ARRAY<STRUCT<id: BIGINT, name: STRING>>"
    properties = "'delta.enableDeletionVectors' = 'true', 'delta.columnMapping.mode' = 'name'"
    spark.sql(f"CREATE TABLE delta.`{table}` ({kinds}) USING delta PARTITIONED BY (day) TBLPROPERTIES ({properties})")
    row = "'u1', TIMESTAMP_NTZ'2026-03-02 04:15:31.25', array('n1'), DATE'2026-03-02', array(named_struct('id', {}, "
    values = ", ".join(f"('i{at}', {row.format(at)}'name', 'x')))" for at in range(4))
    spark.sql(f"INSERT INTO delta.`{table}` SELECT /*+ COALESCE(1) */ * FROM VALUES {values}")
    spark.sql(f"ALTER TABLE delta.`{table}` RENAME COLUMN visitor TO reader")
    spark.sql(f"ALTER TABLE delta.`{table}` RENAME COLUMN slate.element.id TO news")
    spark.sql(f"DELETE FROM delta.`{table}` WHERE impression IN ('i1', 'i2')")
    text = (PRESETS / "delta.toml").read_text().replace('"visitor"', '"reader"').replace('"clicked_before"', '"before"')
    text = text.replace('shown = "articles"', 'shown = { column = "slate", field = "news" }')
    text = text.replace('clicked = "clicked_articles"\n', "").replace('section = "section"', 'day = "day"')
    (tmp_path / "m.toml").write_text(text)
    frame = parsed(spark, find_in_table(table, read_mapping(tmp_path / "m.toml"), {}))
    assert rows(frame, "position", "impression_id", "user_id", "time", "shown", "day", "reason") == [
        (0, "i0", "u1", NINE, ["0"], "2026-03-02", None),
        (1, "i3", "u1", NINE, ["3"], "2026-03-02", None),
    ]
