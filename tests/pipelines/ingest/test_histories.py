from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from pipelines.conform import conform
from pipelines.ingest.histories import GONE, history_changes
from schemas.impression import HISTORIES
from tests.builders import rows

Told = tuple[str, Sequence[str]]


def told(spark: SparkSession, *histories: Told) -> DataFrame:
    data = [("publisher", user, list(history)) for user, history in histories]
    return spark.createDataFrame(data, "source string, user_id string, history array<string>")


def changes(spark: SparkSession, *histories: Told, stored: DataFrame | None = None) -> list[tuple[Any, ...]]:
    return rows(history_changes(told(spark, *histories), stored), "user_id", "clicks", GONE)


def stored_rows(spark: SparkSession, *histories: Told) -> DataFrame:
    return conform(history_changes(told(spark, *histories), None), HISTORIES)


def test_only_histories_that_no_other_begins_with_are_stored(spark: SparkSession) -> None:
    grown = [("u1", "abcd"[:length]) for length in range(5)]
    assert changes(spark, *grown, ("u1", "abx"), ("u1", "b"), ("u2", "ab")) == [
        ("u1", list("abcd"), False),
        ("u1", list("abx"), False),
        ("u1", ["b"], False),
        ("u2", list("ab"), False),
    ]


def test_a_prefix_is_one_of_clicks_and_not_of_letters(spark: SparkSession) -> None:
    assert changes(spark, ("u1", ["n1"]), ("u1", ["n12", "n3"])) == [
        ("u1", ["n1"], False),
        ("u1", ["n12", "n3"], False),
    ]


def test_an_empty_history_is_stored_where_a_user_has_no_other(spark: SparkSession) -> None:
    assert changes(spark, ("u1", ""), ("u2", ""), ("u2", "a")) == [("u1", [], False), ("u2", ["a"], False)]


def test_a_longer_history_replaces_the_stored_one(spark: SparkSession) -> None:
    stored = stored_rows(spark, ("u1", "ab"), ("u1", "x"), ("u2", "ab"))
    assert changes(spark, ("u1", "abc"), stored=stored) == [("u1", list("abc"), False), ("u1", ["a", "b"], True)]


def test_what_is_stored_already_is_no_change(spark: SparkSession) -> None:
    stored = stored_rows(spark, ("u1", "ab"), ("u2", "c"))
    assert changes(spark, ("u1", "ab"), ("u1", "a"), ("u2", ""), stored=stored) == []


def test_the_same_history_of_two_sources_is_stored_for_both(spark: SparkSession) -> None:
    both = told(spark, ("u1", "ab")).withColumn("source", F.explode(F.array(F.lit("x"), F.lit("y"))))
    assert rows(history_changes(both, None), "source", "clicks") == [("x", ["a", "b"]), ("y", ["a", "b"])]
