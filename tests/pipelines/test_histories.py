from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from pipelines.histories import hash_of, with_history
from pipelines.ingest.histories import history_changes
from pipelines.ingest.sightings import text_of
from pipelines.merging import OLD
from schemas.history import history_of
from tests.builders import rows

COLUMNS = "source string, user_id string, impression_id string, history array<string>"
clicks = st.lists(st.sampled_from(["n1", "n2", "n12", "!"]), max_size=6)


@st.composite
def user_histories(draw: st.DrawFn) -> list[list[str]]:
    """One user's histories over time: grown, cut at either end, and put into another order."""
    whole = draw(clicks)
    grown = [whole[:length] for length in draw(st.lists(st.integers(0, len(whole)), max_size=4))]
    cut = [whole[start:] for start in draw(st.lists(st.integers(0, len(whole)), max_size=2))]
    return [*grown, *cut, draw(st.permutations(whole)), *draw(st.lists(clicks, max_size=2))]


def told(spark: SparkSession, users: Sequence[Sequence[Sequence[str]]]) -> DataFrame:
    data = [("p", f"u{user}", f"{user}-{at}", list(h)) for user, hs in enumerate(users) for at, h in enumerate(hs)]
    return spark.createDataFrame(data, COLUMNS)


def kept(frame: DataFrame) -> DataFrame:
    """What impressions keep of a history."""
    length, hash = F.size("history").alias("history_length"), hash_of(F.col("history")).alias("history_hash")
    return frame.select("source", "user_id", "impression_id", length, hash)


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
            history_of(stored.get(row["user_id"], []), row["history_length"], row["history_hash"]),
        )
        for row in impressions.collect()
    ]
    return sorted(found)


def changes_of(everything: DataFrame, stored: DataFrame | None) -> DataFrame:
    texts = everything.select("user_id", text_of(F.col("history")).alias("text")).distinct()
    return history_changes(texts, stored).withColumn("source", F.lit("p"))


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
    everything = told(spark, users)
    whole = changes_of(everything, None)
    assert rows(with_history(kept(everything), whole), *everything.columns) == rows(everything)

    assert in_plain_python(kept(everything), whole) == rows(everything)  # as the trainer reads them

    late = [hs[cut % (len(hs) + 1) :] for hs in users]
    early = [hs[: cut % (len(hs) + 1)] for hs in users]
    stored = changes_of(told(spark, early), None).drop(OLD)
    changes = changes_of(told(spark, late), stored)
    replaced = changes.where(f"{OLD} IS NOT NULL").select(f"{OLD}.*")
    after = stored.join(replaced, ["user_id", "sequence_hash"], how="left_anti").unionByName(changes.drop(OLD))
    assert replaced.count() == replaced.distinct().count()
    assert rows(after.select(whole.drop(OLD).columns)) == rows(whole.drop(OLD))


def test_a_history_that_is_not_stored_is_an_error_that_names_the_impression(spark: SparkSession) -> None:
    everything = told(spark, [[["n1", "n2"]]])
    other = changes_of(told(spark, [[["n2", "n1"]]]), None)
    with pytest.raises(Exception, match="lacks the history of impression p 0-0 u0"):
        with_history(kept(everything), other).collect()


def test_two_sequences_with_a_common_beginning_give_one_row(spark: SparkSession) -> None:
    everything = told(spark, [[["a"], ["a", "b"], ["a", "c"], []]])
    assert rows(with_history(kept(everything), changes_of(everything, None)), *everything.columns) == rows(everything)
