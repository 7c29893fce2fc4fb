from __future__ import annotations

from pyspark.sql import SparkSession

from tests.pipelines.trajectories.views import View, built


def test_windows_are_cut_from_the_end_and_one_without_a_target_is_dropped(spark: SparkSession) -> None:
    views = [View("a", "u", 0, "n1 n2 n3 n4", "n5* n9"), View("b", "u", 1, "", "n6* n7* n9")]
    found, _ = built(spark, views, window=2)
    assert [(r["window"], r["click_row"], r["prefix"]) for r in found] == [(0, [6, 7], [0, 0]), (1, [4, 5], [0, 1])]


def test_with_all_targets_each_click_is_a_target_once_in_windows_of_equal_length(spark: SparkSession) -> None:
    views = [View("a", "u", 0, "n1 n2 n3 n4", "n5* n9"), View("b", "v", 1, "n20 n21 n22 n23 n24", "n6 n7")]
    found, _ = built(spark, views, window=2, targets="all", history_weight=0.25)
    assert [(r["user_id"], r["click_row"], r["weight"]) for r in found] == [
        ("u", [4, 5], [0.25, 1]),
        ("u", [2, 3], [0.25, 0.25]),
        ("u", [1], [0.25]),
        ("v", [23, 24], [0.25, 0.25]),
        ("v", [21, 22], [0.25, 0.25]),
        ("v", [20], [0.25]),
    ]
    assert [r["prefix"] for r in found] == [[0, 1], [0, 1], [0]] * 2
    assert {r["time"] for r in found if r["user_id"] == "v"} == {found[3]["time"]}  # when the history was logged
