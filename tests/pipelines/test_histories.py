from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from pipelines.delta.merge import OLD
from pipelines.engine.scratch import Keep, scratch
from pipelines.histories import hash_of, with_history
from pipelines.ingest.resolve.histories import (
    distinct_histories,
    history_changes,
    history_offsets,
    placed_histories,
    with_offset,
)
from schemas.history import history_of
from tests.builders import rows

COLUMNS = "source string, user_id string, impression_id string, history array<string>"
_HISTORIES = "source string, user_id string, clicks array<string>"
clicks = st.lists(st.sampled_from(["n1", "n2", "n12", "!"]), max_size=6)


@st.composite
def user_histories(draw: st.DrawFn) -> list[list[str]]:
    """One user's histories over time: grown, cut at either end, and put into another order."""
    full = draw(clicks)
    grown = [full[:length] for length in draw(st.lists(st.integers(0, len(full)), max_size=4))]
    cut = [full[start:] for start in draw(st.lists(st.integers(0, len(full)), max_size=2))]
    return [*grown, *cut, draw(st.permutations(full)), *draw(st.lists(clicks, max_size=2))]


def logged(spark: SparkSession, users: Sequence[Sequence[Sequence[str]]]) -> DataFrame:
    data = [("p", f"u{user}", f"{user}-{at}", list(h)) for user, hs in enumerate(users) for at, h in enumerate(hs)]
    return spark.createDataFrame(data, COLUMNS)


def kept(frame: DataFrame, offsets: DataFrame) -> DataFrame:
    """What impressions keep of a history."""
    length, hash = F.size("history").alias("history_length"), hash_of(F.col("history")).alias("history_hash")
    return with_offset(frame.select("source", "user_id", "impression_id", length, hash), offsets)


def in_plain_python(impressions: DataFrame, histories: DataFrame) -> list[tuple[Any, ...]]:
    """Each impression with its history, by the function that the trainer uses."""
    stored: dict[str, list[list[str]]] = {}
    for row in histories.collect():
        stored.setdefault(row["user_id"], []).append(row["clicks"])
    found = [
        (
            row["source"],
            row["user_id"],
            row["impression_id"],
            history_of(
                stored.get(row["user_id"], []), row["history_length"], row["history_hash"], row["history_offset"]
            ),
        )
        for row in impressions.collect()
    ]
    return sorted(found)


def placed_of(keep: Keep, everything: DataFrame, stored: DataFrame | None) -> tuple[DataFrame, DataFrame]:
    """The changes of HISTORIES, and the offsets of the histories of everything."""
    columns = {"history_length": F.size("history"), "history_hash": hash_of(F.col("history"))}
    found = keep(placed_histories(distinct_histories(everything.withColumns(columns)), stored))
    return history_changes(found).withColumn("source", F.lit("p")), history_offsets(found)


# No shrinking: every attempt is several Spark jobs.
@settings(
    max_examples=6,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=(Phase.explicit, Phase.generate),
    derandomize=True,
    database=None,
)
@given(users=st.lists(user_histories(), min_size=4, max_size=12), cut=st.integers(0, 40))
def test_every_history_comes_back_exactly_even_if_it_came_in_two_batches(
    spark: SparkSession, users: list[list[list[str]]], cut: int
) -> None:
    with scratch() as keep:
        everything = logged(spark, users)
        sequences, offsets = placed_of(keep, everything, None)
        impressions = kept(everything, offsets)
        assert rows(with_history(impressions, sequences), *everything.columns) == rows(everything)
        assert in_plain_python(impressions, sequences) == rows(everything)  # as the trainer reads them

        late = logged(spark, [hs[cut % (len(hs) + 1) :] for hs in users])
        early = logged(spark, [hs[: cut % (len(hs) + 1)] for hs in users])
        stored, first = placed_of(keep, early, None)
        stored = stored.drop(OLD)
        changes, second = placed_of(keep, late, stored)
        replaced = changes.where(f"{OLD} IS NOT NULL").select(f"{OLD}.*")
        after = stored.join(replaced, ["user_id", "sequence_hash"], how="left_anti").unionByName(changes.drop(OLD))
        assert replaced.count() == replaced.distinct().count()
        assert after.count() == after.select("user_id", "sequence_hash").distinct().count()
        for lines, own in ((early, first), (late, second)):  # offsets of old still hold
            assert rows(with_history(kept(lines, own), after), *lines.columns) == rows(lines)


def test_histories_that_only_grow_are_one_sequence_however_they_come(spark: SparkSession, keep: Keep) -> None:
    sequences, _ = placed_of(keep, logged(spark, [["a", "ab", "abc", ""], ["abcd", "ab"]]), None)
    stored = placed_of(keep, logged(spark, [["ab", ""], ["abcd"]]), None)[0].drop(OLD)
    changes, offsets = placed_of(keep, logged(spark, [["abc", "a"], ["ab"]]), stored)
    assert offsets.isEmpty()
    replaced = changes.select(f"{OLD}.*")
    after = stored.join(replaced, ["user_id", "sequence_hash"], how="left_anti").unionByName(changes.drop(OLD))
    assert rows(after, "user_id", "clicks") == rows(sequences, "user_id", "clicks")


def test_an_older_lake_whose_impressions_have_no_offsets_reads_as_before(spark: SparkSession) -> None:
    everything = logged(spark, [["abc", "bc"]])
    histories = spark.createDataFrame([("p", "u0", [*"abcd"]), ("p", "u0", [*"bc"])], _HISTORIES)
    nothing = F.lit(None).cast("int")
    sequences = kept(everything, everything.limit(0).transform(_as_offsets)).withColumn("history_offset", nothing)
    assert rows(with_history(sequences, histories), *everything.columns) == rows(everything)


def test_a_history_that_is_not_stored_is_an_error_that_names_the_impression(spark: SparkSession, keep: Keep) -> None:
    everything = logged(spark, [[["n1", "n2"]]])
    other, offsets = placed_of(keep, logged(spark, [[["n2", "n1"]]]), None)
    with pytest.raises(Exception, match="lacks the history of impression p 0-0 u0"):
        with_history(kept(everything, offsets), other).collect()


def test_two_sequences_with_a_common_beginning_give_one_row(spark: SparkSession, keep: Keep) -> None:
    everything = logged(spark, [[["a"], ["a", "b"], ["a", "c"], []]])
    sequences, offsets = placed_of(keep, everything, None)
    assert sequences.count() == 2
    assert rows(with_history(kept(everything, offsets), sequences), *everything.columns) == rows(everything)


def test_the_last_clicks_of_each_view_come_back_from_one_sequence(spark: SparkSession, keep: Keep) -> None:
    clicks = [f"n{at // 2}" for at in range(400)]
    everything = logged(spark, [[clicks[max(0, at - 50) : at] for at in range(400)]])
    sequences, offsets = placed_of(keep, everything, None)
    assert rows(sequences.select(F.size("clicks"))) == [(399,)]
    assert rows(with_history(kept(everything, offsets), sequences), *everything.columns) == rows(everything)


def _as_offsets(frame: DataFrame) -> DataFrame:
    numbers = {"history_length": "int", "history_hash": "long", "history_offset": "int"}
    return frame.select("user_id", *(F.lit(None).cast(kind).alias(name) for name, kind in numbers.items()))
