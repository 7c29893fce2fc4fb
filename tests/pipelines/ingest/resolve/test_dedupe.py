from __future__ import annotations

from typing import Any

import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from pipelines.delta.table_ddl import conform
from pipelines.engine.scratch import Keep
from pipelines.histories import hash_of
from pipelines.ingest.parse.lines import with_parsed
from pipelines.ingest.resolve.dedupe import (
    COUNTS,
    alias_rows,
    linked_impressions,
    single_impressions,
    stored_changes,
    unlinked_impressions,
)
from pipelines.ingest.resolve.observations import keyed_lines, per_observation, usable
from schemas.impression import IMPRESSIONS
from tests.builders import json_line, raw_logs, rows

LATER = "2026-03-02T10:15:31Z"  # an hour after json_line's own time


def observed(spark: SparkSession, *lines: str) -> DataFrame:
    return usable(keyed_lines(with_parsed(raw_logs(spark, *lines), "jsonl")))


def grouped(spark: SparkSession, *lines: str) -> DataFrame:
    return per_observation(observed(spark, *lines))


def linked(spark: SparkSession, *lines: str, stored: DataFrame | None = None, batch: int = 1) -> DataFrame:
    return linked_impressions(grouped(spark, *lines), stored, batch=batch)


def counts(frame: DataFrame) -> dict[str, int]:
    """The counts that are not 0."""
    total = frame.agg(*(F.sum(name).alias(name) for name in COUNTS)).collect()[0].asDict()
    return {name: value for name, value in total.items() if value}


def test_an_unlinked_observation_becomes_the_row_that_linking_would_make_of_it(spark: SparkSession) -> None:
    lines = [json_line("1"), json_line("1"), json_line("2", user_id="u2", clicked=[]), json_line("3", user_id="u3")]
    alone = unlinked_impressions(grouped(spark, *lines), batch=1)
    assert rows(alone) == rows(linked(spark, *lines).select(alone.columns))
    single = single_impressions(observed(spark, *lines[1:]), batch=1)
    assert rows(single) == rows(alone.select(single.columns))
    contract = conform(alone.withColumn("source", F.lit("x")), IMPRESSIONS)
    assert rows(contract, "impression_id", "also_seen_as", "sighting_id", "span_days") == [
        (name, [], None, 0) for name in ("1", "2", "3")
    ]


def test_a_click_logged_later_joins_the_earlier_one(spark: SparkSession) -> None:
    lines = [json_line(shown=["n5", "n3", "n4"], clicked=clicked) for clicked in (["n5"], [], ["n4"])]
    found = linked(spark, *lines)
    assert rows(found, "shown", "clicked") == [(["n5", "n3", "n4"], [True, False, True])]
    assert counts(found) == {"lines": 3, "gained": 1, "retold": 2}


def test_unlabelled_stays_unlabelled_until_a_line_has_marks(spark: SparkSession) -> None:
    unlabelled = json_line(without=("clicked",))
    assert rows(linked(spark, unlabelled, unlabelled), "clicked") == [(None,)]
    assert rows(linked(spark, unlabelled, json_line(clicked=[])), "clicked") == [([False, False],)]


def test_shown_lists_that_differ_are_united_by_id(spark: SparkSession) -> None:
    lines = (json_line(shown=["n9", "n3"], clicked=["n9"]), json_line(shown=["n4", "n3"], clicked=["n3"]))
    assert rows(linked(spark, *lines), "shown", "clicked") == [(["n3", "n4", "n9"], [True, False, True])]


def test_of_several_histories_the_longest_stays(spark: SparkSession) -> None:
    found = linked(spark, json_line(history=["n1"]), json_line(history=["n7", "n1", "n2"]), json_line())
    longest = hash_of(F.array(*(F.lit(n) for n in ("n7", "n1", "n2"))))
    assert rows(found.select("history_length", F.col("history_hash") == longest)) == [(3, True)]


def test_two_collectors_are_one_row_under_the_smaller_id_and_the_earliest_time(spark: SparkSession) -> None:
    found = linked(spark, json_line("b"), json_line("a"), json_line("a", time=LATER, shown=["n9"], clicked=["n9"]))
    assert rows(
        found.selectExpr(
            "impression_id",
            "also_seen_as",
            "date_format(time, 'yyyy-MM-dd HH:mm:ss')",
            "date_format(last_time, 'yyyy-MM-dd HH:mm:ss')",
        )
    ) == [("a", ["b"], "2026-03-02 09:15:31", "2026-03-02 10:15:31")]
    assert counts(found) == {"lines": 3, "gained": 1, "double_logged": 1, "retold": 1}
    aliases = alias_rows(found).selectExpr(
        "impression_id",
        "date_format(time, 'yyyy-MM-dd HH:mm:ss')",
        "canonical_id",
        "date_format(canonical_time, 'yyyy-MM-dd HH:mm:ss')",
    )
    assert rows(aliases) == [
        ("a", "2026-03-02 10:15:31", "a", "2026-03-02 09:15:31"),
        ("b", "2026-03-02 09:15:31", "a", "2026-03-02 09:15:31"),
    ]


def test_a_reused_id_is_another_impression(spark: SparkSession) -> None:
    found = linked(spark, json_line(), json_line(time="2026-03-04T09:15:31Z"), json_line(user_id="u2"))
    assert found.count() == 3
    assert counts(found) == {"lines": 3, "gained": 3}


def as_stored(keep: Keep, frame: DataFrame) -> DataFrame:
    return keep(conform(frame.withColumn("source", F.lit("x")), IMPRESSIONS))


def test_a_stored_row_that_is_logged_again_is_unchanged_and_its_lines_are_replays(
    spark: SparkSession, keep: Keep
) -> None:
    stored = as_stored(keep, linked(spark, json_line("b"), json_line("a"), json_line("a", time=LATER)))
    again = linked(spark, json_line("a"), json_line("a"), json_line("b"), stored=stored, batch=2)
    assert rows(again, "changed", "first_batch") == [(False, 1)]
    assert counts(again) == {"lines": 3, "replayed": 3}


def test_a_smaller_id_moves_the_stored_row_to_another_key(spark: SparkSession, keep: Keep) -> None:
    stored = as_stored(keep, linked(spark, json_line("b", clicked=["n3"])))
    found = linked(spark, json_line("a", clicked=["n4"]), stored=stored, batch=2)
    assert rows(found, "impression_id", "also_seen_as", "clicked", "changed") == [("a", ["b"], [True, True], True)]
    assert rows(stored_changes(found), "old.impression_id", "impression_id", "gone") == [("b", "a", False)]
    assert counts(found) == {"lines": 1, "double_logged": 1}


def test_a_line_that_bridges_two_stored_rows_makes_one_of_them(spark: SparkSession, keep: Keep) -> None:
    ends = [json_line(time="2026-03-02T00:00:00Z"), json_line(time="2026-03-03T10:00:00Z")]
    stored = as_stored(keep, linked(spark, *ends))
    assert stored.count() == 2
    found = linked(spark, json_line(time="2026-03-02T20:00:00Z"), stored=stored, batch=2)
    assert rows(
        found.selectExpr(
            "date_format(time, 'yyyy-MM-dd HH:mm:ss')", "date_format(last_time, 'yyyy-MM-dd HH:mm:ss')", "span_days"
        )
    ) == [("2026-03-02 00:00:00", "2026-03-03 10:00:00", 1)]
    assert rows(stored_changes(found).selectExpr("date_format(old.time, 'yyyy-MM-dd HH:mm:ss')", "gone")) == [
        ("2026-03-02 00:00:00", False),
        ("2026-03-03 10:00:00", True),
    ]
    assert counts(found) == {"lines": 1, "gained": -1, "retold": 2}


def test_an_id_of_another_view_in_the_first_second_does_not_take_its_key(spark: SparkSession, keep: Keep) -> None:
    """A view logged for days, at its end under an id smaller than its own, which another view had at its beginning."""
    hours = [f"2026-03-0{1 + hour // 24}T{hour % 24:02}:00:00Z" for hour in (0, 20, 40, 60, 80)]
    logged_for_days = [json_line("b", time=time, shown=["n1"], clicked=[]) for time in hours]
    smaller = json_line("a", time=hours[-1], shown=["n1"], clicked=[])
    another = json_line("a", time=hours[0], shown=["n3"], clicked=[])
    found = linked(spark, *logged_for_days, smaller, another)
    assert rows(found, "impression_id", "shown", "also_seen_as") == [("a", ["n3"], []), ("b", ["n1"], ["a"])]
    stored = as_stored(keep, linked(spark, *logged_for_days, smaller))
    later = linked(spark, another, stored=stored, batch=2)
    assert rows(later, "impression_id", "shown") == [("a", ["n3"])]


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 1, 0, 2), (2, 3, 1, 0), (1, 0, 3, 2)])
def test_uniting_line_by_line_gives_the_same_row_in_every_order(
    spark: SparkSession, keep: Keep, order: tuple[int, ...]
) -> None:
    variants = (
        json_line("2", shown=["n9", "n3"], clicked=["n9"], history=["n1"]),
        json_line("1", shown=["n3", "n9"], clicked=["n3"], history=["n1", "n2"]),
        json_line("2", shown=["n4", "n3"], without=("clicked",), history=["n2", "n1"], time=LATER),
        json_line("1", shown=["n3", "n4"], clicked=[], history=[], time=LATER),
    )
    content = [name for name in IMPRESSIONS.column_names if name not in ("source", "first_batch")]
    stored: DataFrame | None = None
    for batch, at in enumerate(order):
        stored = as_stored(keep, linked(spark, variants[at], stored=stored, batch=batch))
    assert stored is not None
    assert rows(stored, *content) == rows(linked(spark, *variants), *content)


def test_extra_columns_take_the_greatest_value(spark: SparkSession) -> None:
    observations = grouped(spark, json_line("1"), json_line("2")).withColumn("device", F.col("impression_id"))
    found: list[tuple[Any, ...]] = rows(linked_impressions(observations, None, batch=1, extra=["device"]), "device")
    assert found == [("2",)]
