from __future__ import annotations

from collections.abc import Iterable

import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from pipelines.ingest.histories import GONE, history_changes, with_maximal
from pipelines.ingest.sightings import text_of
from tests.builders import rows


def told(spark: SparkSession, *histories: Iterable[str], user: str = "u1") -> DataFrame:
    texts = [(user, " ".join(history)) for history in histories]
    return spark.createDataFrame(texts, "user_id string, text string").distinct()


def stored(spark: SparkSession, *histories: Iterable[str], user: str = "u1") -> DataFrame:
    sequences = [(user, list(history)) for history in histories]
    frame = spark.createDataFrame(sequences, "user_id string, clicks array<string>")
    return frame.withColumn("sequence_hash", F.xxhash64("clicks"))


def changes(frame: DataFrame) -> list[tuple[str, bool]]:
    return [tuple(row) for row in rows(frame.select(text_of(F.col("clicks")), GONE))]  # type: ignore[misc]


@pytest.mark.parametrize(
    ("histories", "maximal"),
    [
        (["a", "ab", "abc"], ["a b c"]),  # a growing history is stored once
        (["abc", "bc", "c"], ["a b c", "b c", "c"]),  # cut from the front: sequences of their own
        (["ab", "ba"], ["a b", "b a"]),  # re-ordered
        (["", "a"], ["a"]),
        ([""], [""]),
        ([["n1"], ["n1", "n2"], ["n10"]], ["n1 n2", "n10"]),  # an id that begins another is no prefix
        ([["a"], ["a", "!"], ["a!"]], ["a !", "a!"]),  # the smallest letter that an id can hold
    ],
)
def test_a_history_that_another_begins_with_is_not_maximal(
    spark: SparkSession, histories: list[Iterable[str]], maximal: list[str]
) -> None:
    found = told(spark, *histories).transform(with_maximal).where("maximal")
    assert sorted(text for (text,) in rows(found, "text")) == sorted(maximal)


def test_a_longer_history_takes_the_place_of_the_stored_ones_that_it_extends(spark: SparkSession) -> None:
    found = history_changes(told(spark, "abcd", "x"), stored(spark, "ab", "xy", "abq"))
    assert sorted(changes(found)) == [("a b", True), ("a b c d", False)]


def test_what_is_stored_already_changes_nothing(spark: SparkSession) -> None:
    assert changes(history_changes(told(spark, "ab", "a", ""), stored(spark, "ab"))) == []


def test_users_are_apart(spark: SparkSession) -> None:
    found = history_changes(told(spark, "ab"), stored(spark, "a", user="u2"))
    assert changes(found) == [("a b", False)]


def test_the_first_histories_of_a_source_are_inserted(spark: SparkSession) -> None:
    assert changes(history_changes(told(spark, "ab", "a"), None)) == [("a b", False)]
