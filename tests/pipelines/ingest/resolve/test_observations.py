from __future__ import annotations

from itertools import permutations

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from pipelines.ingest.parse.lines import with_parsed
from pipelines.ingest.resolve.observations import keyed_lines, per_observation, refused, usable
from tests.builders import Line, json_line, raw_logs, rows


def observed(spark: SparkSession, *lines: Line) -> DataFrame:
    return keyed_lines(with_parsed(raw_logs(spark, *lines), "jsonl"))


def observations(spark: SparkSession, *lines: Line) -> DataFrame:
    return per_observation(usable(observed(spark, *lines)))


def test_a_replayed_line_counts_once(spark: SparkSession) -> None:
    found = observations(spark, json_line("1"), json_line("1"), json_line("2"))
    assert rows(found.selectExpr("impression_id", "lines", "size(variants)")) == [("1", 2, 1), ("2", 1, 1)]


def test_lines_of_one_observation_with_different_clicks_stay_separate_variants(spark: SparkSession) -> None:
    lines = [json_line(clicked=["n3"]), json_line(clicked=[]), json_line(without=("clicked",))]
    found = observations(spark, *lines)
    assert rows(found.selectExpr("lines", "array_sort(variants.clicked)")) == [(3, ["", "n3", None])]


def test_one_set_of_news_in_two_orders_is_one_observation_in_the_order_of_ids(spark: SparkSession) -> None:
    lines = [json_line(shown=["n4", "n3"]), json_line(shown=["n3", "n4"]), json_line(shown=["n9", "n3"])]
    assert rows(observations(spark, *lines), "shown", "lines") == [("n3 n4", 2), ("n9 n3", 1)]


def test_another_time_user_or_id_is_another_observation(spark: SparkSession) -> None:
    found = observations(spark, json_line(), json_line("2"), json_line(user_id="u2"), json_line(time="2026-03-02"))
    assert found.count() == 3  # a time without its hour is refused


def test_the_longest_history_is_the_observations(spark: SparkSession) -> None:
    found = observations(spark, json_line(history=["a"]), json_line(history=["b", "c"]), json_line(history=[]))
    assert rows(found.selectExpr("history.length", "array_sort(variants.history)")) == [(2, ["", "a", "b c"])]


def test_a_news_shown_twice_is_one_candidate_and_counted(spark: SparkSession) -> None:
    found = observations(spark, json_line(shown=["n3", "n4", "n3"], clicked=["n3"]))
    assert rows(found, "shown", "repeated") == [("n3 n4", 1)]


def test_refused_lines_keep_their_place_text_and_reason(spark: SparkSession) -> None:
    found = observed(spark, b"\xff", json_line(), json_line(shown=[]), b"\xff")
    assert rows(refused(found), "file", "position", "reason") == [
        ("logs/a.jsonl", 0, "not_utf8"),
        ("logs/a.jsonl", 2, "nothing_shown"),
        ("logs/a.jsonl", 3, "not_utf8"),
    ]
    assert {line for (line,) in rows(refused(found), "line")} == {"\ufffd", json_line(shown=[])}
    assert usable(found).count() == 1


def test_the_hash_of_shown_news_is_that_of_their_ids_by_code_point(spark: SparkSession) -> None:
    """It stands in every lake: another order would part new lines from stored impressions."""
    ids = ["a", "Z", "é", "\uffee", "\U00019eb0"]
    lines = [json_line(shown=[*order], clicked=[]) for order in permutations(ids)]
    wanted = spark.range(1).select(F.xxhash64(F.lit(" ".join(sorted(ids)))).alias("hash"))
    assert {*rows(observed(spark, *lines), "shown_hash")} == {*rows(wanted, "hash")}
