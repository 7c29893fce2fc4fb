from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from pipelines.ingest.resolve.linking import (
    counted_keys,
    drop_linked,
    keep_linked,
    met_keys,
    shared_keys,
    with_cluster,
    with_component,
    with_keys,
)
from tests.builders import rows

START = datetime(2026, 3, 2, 9, tzinfo=UTC)
Given = tuple[str, float, int]  # id, hours after START, what was shown


def observations(spark: SparkSession, *given: Given, user: str = "u1") -> DataFrame:
    made = [(user, name, START + timedelta(hours=hours), shown) for name, hours, shown in given]
    return spark.createDataFrame(made, "user_id string, impression_id string, time timestamp, shown_hash long")


def together(frame: DataFrame) -> list[list[str]]:
    """The observations of each component, printed as id@hours."""
    hours = (F.unix_seconds("time") - F.lit(int(START.timestamp()))) / 3600
    named = frame.transform(with_cluster).transform(with_component)
    name = F.concat("user_id", F.lit("/"), "impression_id", F.lit("@"), hours.cast("int"))
    found = named.groupBy("user_id", "component").agg(F.array_sort(F.collect_list(name)).alias("names"))
    return sorted(names for (names,) in rows(found, "names"))


def test_one_id_is_one_impression_while_no_gap_exceeds_24_hours(spark: SparkSession) -> None:
    chain = observations(spark, ("1", 0, 1), ("1", 24, 2), ("1", 48, 3), ("1", 73, 4))
    assert together(chain) == [["u1/1@0", "u1/1@24", "u1/1@48"], ["u1/1@73"]]


def test_an_observation_that_bridges_a_gap_links_both_sides(spark: SparkSession) -> None:
    apart = [("1", 0, 1), ("1", 40, 2)]
    assert together(observations(spark, *apart)) == [["u1/1@0"], ["u1/1@40"]]
    assert together(observations(spark, *apart, ("1", 20, 3))) == [["u1/1@0", "u1/1@20", "u1/1@40"]]


def test_one_user_second_and_set_of_news_is_one_impression_whatever_its_ids(spark: SparkSession) -> None:
    seen = observations(spark, ("1", 0, 7), ("2", 0.9 / 3600, 7), ("3", 0, 8), ("4", 1, 7), ("5", 1.1 / 3600, 7))
    assert together(seen) == [["u1/1@0", "u1/2@0"], ["u1/3@0"], ["u1/4@1"], ["u1/5@0"]]


def test_users_never_meet(spark: SparkSession) -> None:
    both = observations(spark, ("1", 0, 7)).unionByName(observations(spark, ("1", 0, 7), user="u2"))
    assert together(both) == [["u1/1@0"], ["u2/1@0"]]


def test_both_rules_together_connect_long_chains(spark: SparkSession) -> None:
    """Each id is linked to the next by a view, and to its own later observation by its name."""
    steps = range(12)
    chain = [(str(step), float(step), step) for step in steps] + [(str(step), step + 1.0, step + 1) for step in steps]
    assert [len(names) for names in together(observations(spark, *chain))] == [24]


@pytest.mark.parametrize(
    ("incoming", "stored", "linked"),
    [
        ([("1", 0, 1), ("2", 0, 2), ("3", 5, 3)], [], []),
        ([("1", 0, 1), ("1", 5, 2), ("2", 0, 3)], [], ["1", "1"]),
        ([("1", 0, 1), ("2", 0, 1), ("3", 0, 2)], [], ["1", "2"]),
        ([("1", 0, 1), ("2", 0, 2)], [("2", 90, 9)], ["2"]),
        ([("1", 0, 1), ("2", 0, 2)], [("8", 0, 1)], ["1"]),
        ([("1", 0, 1)], [("8", 0, 5), ("8", 1, 5)], []),
    ],
)
def test_only_observations_that_share_a_key_with_another_one_are_linked(
    spark: SparkSession, incoming: list[Given], stored: list[Given], linked: list[str]
) -> None:
    fresh = observations(spark, *incoming).transform(with_keys)
    known = observations(spark, *stored).withColumn("row", F.struct("impression_id")).transform(with_keys)
    keys = counted_keys(fresh)
    met = met_keys(known, keys) if stored else None
    assert met is None or met.count() == len(linked)
    shared = shared_keys(keys, met)
    assert [name for (name,) in rows(keep_linked(fresh, shared), "impression_id")] == linked
    assert drop_linked(fresh, shared).count() == len(incoming) - len(linked)
