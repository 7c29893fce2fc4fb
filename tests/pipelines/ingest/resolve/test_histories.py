from __future__ import annotations

from collections.abc import Iterable

import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from pipelines.delta.merge import OLD
from pipelines.histories import hash_of
from pipelines.ingest.resolve.histories import history_changes, history_offsets, placed_histories
from pipelines.ingest.resolve.observations import ids_of, text_of
from schemas.history import hash_of_history
from tests.builders import rows


def logged(spark: SparkSession, *histories: Iterable[str], user: str = "u1") -> DataFrame:
    texts = [(user, " ".join(history)) for history in histories]
    frame = spark.createDataFrame(texts, "user_id string, text string").distinct()
    return frame.withColumn("hash", hash_of(ids_of(F.col("text"))))


def stored(spark: SparkSession, *histories: Iterable[str], user: str = "u1") -> DataFrame:
    sequences = [(user, list(history)) for history in histories]
    frame = spark.createDataFrame(sequences, "user_id string, clicks array<string>")
    return frame.withColumn("sequence_hash", F.xxhash64("clicks"))


def changes(found: DataFrame, *known: str) -> list[tuple[str, str | None]]:
    """Each sequence to write, and the one of the `known` ones that it replaces."""
    frame = history_changes(found)
    hashes = {hash_of_history(text): text for text in known}
    written = frame.select(text_of(F.col("clicks")), F.col(OLD).sequence_hash)
    return [(text, None if hash is None else hashes[hash]) for text, hash in rows(written)]


def offsets(found: DataFrame, *histories: Iterable[str]) -> list[int]:
    """The offset of each history."""
    held = {hash: offset for hash, offset in rows(history_offsets(found), "history_hash", "history_offset")}
    wanted = logged(found.sparkSession, *histories).select("text", "hash").collect()
    by_text = {row["text"]: held.get(row["hash"], 0) for row in wanted}
    return [by_text[" ".join(history)] for history in histories]


@pytest.mark.parametrize(
    ("histories", "sequences"),
    [
        (["a", "ab", "abc"], ["a b c"]),  # a growing history is stored once
        (["abc", "bc", "c"], ["a b c"]),  # cut from the front: slices
        (["abc", "bcd", "def"], ["a b c d e f"]),  # the last clicks, logged again and again
        (["def", "bcd", "abc"], ["a b c d e f"]),  # in whatever order
        (["abcd", "cd", "cde", "bcde"], ["a b c d e"]),  # two lengths in one log
        (["abc", "xyz"], ["a b c", "x y z"]),  # nothing in common
        (["abc", "cba"], ["a b c b a"]),  # re-ordered, they share an end
        (["aba", "bab", "aab"], ["a a b a b"]),  # clicks that are repeated
        (["", "a"], ["a"]),
        ([""], [""]),
        ([["n1"], ["n1", "n2"], ["n10"]], ["n1 n2", "n10"]),  # an id that begins another is no prefix
        ([["a"], ["a", "!"], ["a!"]], ["a !", "a!"]),  # the smallest letter that an id can hold
    ],
)
def test_histories_that_overlap_are_one_sequence(
    spark: SparkSession, histories: list[Iterable[str]], sequences: list[str]
) -> None:
    found = placed_histories(logged(spark, *histories), None)
    assert [text for text, _ in changes(found)] == sorted(sequences, key=repr)


def test_each_history_has_its_place_in_the_sequence(spark: SparkSession) -> None:
    found = placed_histories(logged(spark, "abc", "bcd", "def", "a", "cd"), None)
    assert offsets(found, "abc", "bcd", "def", "a", "cd") == [0, 1, 3, 0, 2]
    assert rows(history_offsets(found), "history_length", "history_offset") == [(2, 2), (3, 1), (3, 3)]


def test_a_stored_sequence_grows_at_its_end_alone(spark: SparkSession) -> None:
    found = placed_histories(logged(spark, "cde", "def", "yab"), stored(spark, "abcd", "xq"))
    assert changes(found, "abcd") == [("a b c d e f", "abcd"), ("y a b", None)]
    assert offsets(found, "cde", "def", "yab") == [2, 3, 0]


def test_an_empty_stored_history_becomes_the_first_one_with_clicks(spark: SparkSession) -> None:
    found = placed_histories(logged(spark, "xy", "ab"), stored(spark, ""))
    assert changes(found, "") == [("a b", ""), ("x y", None)]


def test_a_longer_history_takes_the_place_of_the_stored_ones_that_it_extends(spark: SparkSession) -> None:
    found = placed_histories(logged(spark, "abcd", "abc", "abce", "x", "b"), stored(spark, "ab", "xy", "xq"))
    assert changes(found, "ab") == [("a b c d", "ab"), ("a b c e", None)]
    assert offsets(found, "abcd", "b", "x") == [0, 1, 0]


def test_what_is_stored_already_changes_nothing(spark: SparkSession) -> None:
    found = placed_histories(logged(spark, "ab", "a", "", "b"), stored(spark, "ab"))
    assert changes(found) == []
    assert offsets(found, "ab", "a", "", "b") == [0, 0, 0, 1]


def test_users_are_apart(spark: SparkSession) -> None:
    found = placed_histories(logged(spark, "ab"), stored(spark, "a", user="u2"))
    assert changes(found) == [("a b", None)]
