from __future__ import annotations

from pyspark.sql import SparkSession

from tests.pipelines.trajectories.views import AFTER_SPLIT, View, built


def test_unknown_news_leave_histories_shown_lists_and_clicks(spark: SparkSession) -> None:
    views = [
        View("a", "u", 0, "x n1", "x* n2* y n3"),
        View("b", "u", AFTER_SPLIT, "y n1 x", "x* n2 y n3*"),
        View("c", "u", AFTER_SPLIT + 1, "n1", "x* y"),
    ]
    (row,), (evaluated,) = built(spark, views)
    assert (row["click_row"], row["prefix"], row["candidate_row"]) == ([1, 2], [0, 1], [[], [2, 3]])
    assert (evaluated["history_row"], evaluated["shown_row"], evaluated["clicked"]) == ([1], [2, 3], [False, True])
    assert evaluated["shown_id"] == ["n2", "n3"]


def test_lists_keep_their_order_and_their_repetitions(spark: SparkSession) -> None:
    views = [
        View("a", "u", 0, "n9 n2 n9 n1", "n7 n3* n5*"),
        View("b", "u", AFTER_SPLIT, "n8 n8 n1", "n30 n4* n20"),
    ]
    (row,), (evaluated,) = built(spark, views)
    assert row["click_row"] == [9, 2, 9, 1, 3, 5]
    assert (evaluated["history_row"], evaluated["shown_row"]) == ([8, 8, 1], [30, 4, 20])
    assert evaluated["clicked"] == [False, True, False]
