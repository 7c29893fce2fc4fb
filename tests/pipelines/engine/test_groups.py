from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, Lock

import numpy as np
import pyarrow as pa
import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from pipelines.engine import groups
from pipelines.engine.groups import complete_groups, in_order, per_group, per_row
from tests.builders import rows

GROUPS, EACH = 37, 600  # more rows than one Arrow batch holds


@pytest.fixture(scope="module")
def frame(spark: SparkSession) -> DataFrame:
    """(key, sign, number): rows of all groups between each other, in several partitions."""
    numbers = spark.range(GROUPS * EACH).withColumn("number", F.pmod(F.col("id") * 7919, F.lit(GROUPS * EACH)))
    keyed = numbers.select(F.pmod("number", F.lit(GROUPS)).cast("int").alias("key"), "number")
    return keyed.withColumn("sign", F.when(F.col("number") < 300 * GROUPS, -1).otherwise(1)).repartition(5)


def summary_of(table: pa.Table) -> pa.Table:
    numbers = table["number"].to_numpy()
    found = {"key": table["key"][0].as_py(), "sign": table["sign"][0].as_py(), "rows": len(table)}
    found |= {"sum": int(numbers.sum()), "in_order": bool((np.diff(numbers) < 0).all())}
    assert set(table.column_names) == {"key", "number", "sign"}
    types = [("key", pa.int32()), ("sign", pa.int32()), ("rows", pa.int64()), ("sum", pa.int64())]
    return pa.Table.from_pylist([found], pa.schema([*types, ("in_order", pa.bool_())]))


def test_every_group_is_one_table_with_all_its_rows(frame: DataFrame) -> None:
    found = per_group(frame, ["key"], summary_of, "key int, sign int, rows long, sum long, in_order boolean")
    wanted = sum(range(0, GROUPS * EACH, GROUPS))
    assert [(row[0], row[2], row[3]) for row in sorted(rows(found))] == [
        (key, EACH, wanted + key * EACH) for key in range(GROUPS)
    ]


def test_groups_of_two_keys_come_in_the_order_that_is_asked_for(frame: DataFrame) -> None:
    backwards = frame.withColumn("place", -F.col("number"))
    found = per_group(
        backwards,
        ["key", "sign"],
        lambda table: summary_of(table.drop_columns(["place"])),
        "key int, sign int, rows long, sum long, in_order boolean",
        order=["place"],
    )
    assert sorted(row[:3] for row in rows(found)) == [(key, sign, 300) for key in range(GROUPS) for sign in (-1, 1)]
    assert all(row[4] for row in rows(found))


def test_one_task_gets_all_rows_in_order(frame: DataFrame) -> None:
    def all_numbers(batches: Iterator[pa.RecordBatch]) -> pa.Table:
        numbers = np.concatenate([batch["number"].to_numpy() for batch in batches])
        return pa.table({"rows": [len(numbers)], "in_order": [bool((np.diff(numbers) > 0).all())]})

    found = in_order(frame, ["number"], all_numbers, "rows long, in_order boolean")
    assert rows(found) == [(GROUPS * EACH, True)]


def test_each_row_is_a_task_of_its_own_wherever_it_runs(spark: SparkSession) -> None:
    frame = spark.createDataFrame([(n, f"p{n}") for n in range(9)], "number int, path string")
    schema = "number int, path string"
    assert rows(per_row(frame, 9, "number", lambda row: row.slice(0, 2 - len(row)), schema)) == [
        (n, f"p{n}") for n in range(9)
    ]
    assert rows(per_row(frame.limit(0), 0, "number", lambda row: row, schema)) == []


def test_no_more_rows_are_worked_on_at_once_than_there_are_cores() -> None:
    going, most, lock, both = [0], [0], Lock(), Barrier(2)

    def work(row: pa.Table) -> pa.Table:
        with lock:
            going[0] += 1
            most[0] = max(most[0], going[0])
        if (os.cpu_count() or 1) > 1:
            both.wait(timeout=60)  # two cores: two at once
        with lock:
            going[0] -= 1
        return row

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: groups._run_limited(work, pa.table({})), range(64)))
    assert 1 <= most[0] <= (os.cpu_count() or 1)


def test_groups_go_on_from_batch_to_batch() -> None:
    places = [pa.array(place, pa.int32()) for place in ([1, 2], [], [3, 1, 1], [2])]
    batches = [pa.RecordBatch.from_pydict({"__place": place, "x": place}) for place in places]
    assert [table["x"].to_pylist() for table in complete_groups(batches)] == [[1, 2, 3], [1], [1, 2]]
    assert list(complete_groups([])) == []


@pytest.mark.parametrize("places", [[[1, 2, 4]], [[2, 3]], [[1, 2], [2, 3]]])
def test_rows_of_groups_that_were_mixed_are_an_error(places: list[list[int]]) -> None:
    batches = [pa.RecordBatch.from_pydict({"__place": place}) for place in places]
    with pytest.raises(AssertionError, match="did not keep the rows of a group together"):
        list(complete_groups(batches))
