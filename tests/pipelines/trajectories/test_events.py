from __future__ import annotations

from pyspark.sql import SparkSession

from tests.pipelines.trajectories.reference import as_tuples
from tests.pipelines.trajectories.views import AFTER_SPLIT, Items, View, built


def test_clicks_of_one_impression_do_not_see_each_other(spark: SparkSession) -> None:
    views = [View("a", "u", 0, "n1 n2", "n3* n4* n5"), View("b", "u", 1, "n9 n9 n9", "n6* n7")]
    ((row,), _) = built(spark, views)
    assert row["click_row"] == [1, 2, 3, 4, 6]
    assert row["prefix"] == [0, 1, 2, 2, 4]
    assert row["candidate_row"] == [[], [], [3, 5], [4, 5], [6, 7]]
    assert row["weight"] == [0, 0, 1, 1, 1]
    assert row["logged"] == [False, False, True, True, True]


def test_clicks_of_impressions_of_one_second_do_not_see_each_other(spark: SparkSession) -> None:
    views = [
        View("a", "u", 0, "n1", "n2* n3"),
        View("b", "u", 0.9 / 3600, "", "n4* n5 n6"),
        View("c", "u", 1 / 3600, "", "n7* n8"),
    ]
    ((row,), _) = built(spark, views)
    assert (row["click_row"], row["prefix"]) == ([1, 2, 4, 7], [0, 1, 1, 3])


def test_a_click_without_an_unclicked_neighbour_is_context_only(spark: SparkSession) -> None:
    views = [View("a", "u", 0, "", "n1* n2*"), View("b", "u", 1, "", "n3* n4"), View("c", "v", 1, "n1", "n2*")]
    (row,), _ = built(spark, views)
    assert (row["user_id"], row["click_row"], row["candidate_row"]) == ("u", [1, 2, 3], [[], [], [3, 4]])
    assert row["logged"] == [True, True, True]


def test_news_of_equal_text_stand_under_one_row_and_never_against_each_other(spark: SparkSession) -> None:
    items = Items({"n1": 1, "n2": 1, "n3": 3, "n4": 3})
    views = [View("a", "u", 0, "n2", "n2* n1 n3 n4"), View("b", "u", AFTER_SPLIT, "n4", "n2* n4")]
    (row,), (evaluated,) = built(spark, views, items)
    assert (row["click_row"], row["candidate_row"]) == ([1, 1], [[], [1, 3]])
    assert (evaluated["history_row"], evaluated["shown_row"], evaluated["shown_id"]) == ([3], [1, 3], ["n2", "n4"])


def test_another_seed_draws_other_negatives_and_the_same_seed_the_same(spark: SparkSession) -> None:
    views = [View(f"i{n}", "u", n, "", "n1* " + " ".join(f"n{i}" for i in range(2, 30))) for n in range(5)]
    first, again, other = (as_tuples(built(spark, views, seed=seed)[0]) for seed in (1, 1, 2))
    assert first == again != other
    assert len({tuple(listed[1:]) for listed in first[0][5]}) == 5  # each click draws its own


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
