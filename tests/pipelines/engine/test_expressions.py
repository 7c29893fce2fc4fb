"""Expressions on which the engines would differ: the same values on either, and on files that hold one value alone."""

from __future__ import annotations

import hashlib
import zlib

import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from pipelines.engine.expressions import bucket_of, distinct_of, fraction, greatest_of
from pipelines.engine.key_filter import rows_with, rows_without
from pipelines.engine.scratch import scratch
from tests.builders import rows


def test_a_column_of_one_value_is_dealt_as_any_other(spark: SparkSession) -> None:
    """Read back from a file, such a column is a constant to the embedded engine, whose xxhash64 then fails."""
    with scratch() as keep:
        frame = keep(keep(spark.createDataFrame([("ü1", 1), ("ü1", 2), ("ü1", 3)], "user string, n int").coalesce(1)))
        number = zlib.crc32("ü1".encode()) % 7
        assert rows(frame.select(bucket_of("user", 7).alias("number"))) == [(number,)] * 3
        assert frame.where(bucket_of("user", 7) == number).count() == 3
        assert rows(frame.select(fraction("user", F.lit(5)).alias("lot"))) == [(_fraction("ü1", "5"),)] * 3
        assert rows(frame.select(fraction("n", "user").alias("lot"))) == sorted((_fraction(n, "ü1"),) for n in "123")


def _fraction(*texts: str) -> float:
    return int(hashlib.md5("\x01".join(texts).encode()).hexdigest()[:13], 16) / 2**52


def test_fractions_are_spread_evenly(spark: SparkSession) -> None:
    given = spark.range(2000).select(fraction("id").alias("lot"))
    counts = rows(given.groupBy(F.floor(F.col("lot") * 4).alias("quarter")).count(), "quarter", "count")
    assert [quarter for quarter, _ in counts] == [0, 1, 2, 3]
    assert all(400 < count < 600 for _, count in counts)


def test_lists_of_a_group_give_what_sets_and_maxima_give(spark: SparkSession) -> None:
    given = [("a", 1, 2), ("a", 1, 2), ("a", 1, -3), ("b", 5, None), ("b", 5, None), ("c", None, None)]
    frame = spark.createDataFrame(given, "k string, x int, y int").withColumn("pair", F.struct("x", "y"))
    found = frame.groupBy("k").agg(
        F.array_sort(distinct_of("pair")).alias("ours"),
        F.array_sort(F.collect_set("pair")).alias("set"),
        F.array_sort(distinct_of("x")).alias("numbers"),
    )
    assert all(row["ours"] == row["set"] for row in found.collect())
    assert rows(found, "k", "numbers") == [("a", [1]), ("b", [5]), ("c", [])]
    without_nulls = frame.where("y IS NOT NULL")
    assert (
        without_nulls.groupBy("k")
        .agg(greatest_of("pair").alias("ours"), F.max("pair").alias("max"))
        .where("ours = max")
        .count()
        == 1
    )


@pytest.mark.parametrize("keys", [[], [3], [0, 3, 2**40, -7]])
def test_rows_are_parted_by_whether_a_column_holds_a_key(spark: SparkSession, keys: list[int]) -> None:
    given = [(1, 3, None), (2, None, 3), (3, -7, 2**40), (4, 5, 6), (5, None, None), (6, 0, 1)]
    frame = spark.createDataFrame(given, "id int, a bigint, b bigint")
    wanted = [row for row in given if any(value is not None and value in keys for value in row[1:])]
    held = spark.createDataFrame([(key,) for key in keys], "key bigint")
    assert rows(rows_with(frame, ("a", "b"), held), "id", "a", "b") == wanted
    assert rows(rows_without(frame, ("a", "b"), held), "id", "a", "b") == [row for row in given if row not in wanted]
