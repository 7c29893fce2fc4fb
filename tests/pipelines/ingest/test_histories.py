from __future__ import annotations

from collections.abc import Iterable

import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from pipelines.histories import hash_of
from pipelines.ingest.histories import history_changes, with_maximal
from pipelines.ingest.sightings import text_of
from pipelines.merging import OLD
from tests.builders import rows


def told(spark: SparkSession, *histories: Iterable[str], user: str = "u1") -> DataFrame:
    texts = [(user, " ".join(history)) for history in histories]
    return spark.createDataFrame(texts, "user_id string, text string").distinct()


def stored(spark: SparkSession, *histories: Iterable[str], user: str = "u1") -> DataFrame:
    sequences = [(user, list(history)) for history in histories]
    frame = spark.createDataFrame(sequences, "user_id string, clicks array<string>")
    return frame.withColumn("sequence_hash", F.xxhash64("clicks"))


def changes(frame: DataFrame, *known: str) -> list[tuple[str, str | None]]:
    """Each history to write, and which of the `known` ones it takes the place of."""
    hashes = {
        frame.sparkSession.range(1).select(hash_of(F.array(*map(F.lit, text)))).first()[0]: text for text in known
    }
    told = frame.select(text_of(F.col("clicks")), F.col(OLD).sequence_hash)
    return [(text, None if hash is None else hashes[hash]) for text, hash in rows(told)]


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
    found = history_changes(told(spark, "abcd", "abc", "abce", "x", "b"), stored(spark, "ab", "xy", "xq"))
    assert changes(found, "ab") == [("a b c d", "ab"), ("a b c e", None), ("b", None)]


def test_what_is_stored_already_changes_nothing(spark: SparkSession) -> None:
    assert changes(history_changes(told(spark, "ab", "a", ""), stored(spark, "ab"))) == []


def test_users_are_apart(spark: SparkSession) -> None:
    found = history_changes(told(spark, "ab"), stored(spark, "a", user="u2"))
    assert changes(found) == [("a b", None)]


def test_the_first_histories_of_a_source_are_inserted(spark: SparkSession) -> None:
    assert changes(history_changes(told(spark, "ab", "a"), None)) == [("a b", None)]
