from __future__ import annotations

from pyspark.sql import SparkSession

from tests.pipelines.trajectories.views import AFTER_SPLIT, View, built


def test_a_history_that_grows_by_logged_clicks_counts_each_click_once(spark: SparkSession) -> None:
    views = [
        View("a", "u", 0, "n1", "n2* n3"),
        View("b", "u", 1, "n1 n2", "n4* n5"),
        View("c", "u", 2, "n1 n2 n4", "n6* n7"),
    ]
    ((row,), _) = built(spark, views)
    assert (row["click_row"], row["prefix"]) == ([1, 2, 4, 6], [0, 1, 2, 3])


def test_where_histories_disagree_a_users_sequence_begins_with_the_earliest(spark: SparkSession) -> None:
    views = [
        View("b", "u", 1, "n2 n4", "n6* n7"),  # cut to the last two
        View("c", "u", 2, "n8 n1 n2", "n9* n10"),  # re-ordered, with a click that the log lacks
        View("a", "u", 0, "n1 n2 n3", "n4* n5"),
    ]
    ((row,), _) = built(spark, views)
    assert row["click_row"] == [1, 2, 3, 4, 6, 9]
    assert row["logged"] == [False] * 3 + [True] * 3


def test_the_earliest_impression_gives_the_history_even_without_a_click(spark: SparkSession) -> None:
    views = [View("a", "u", 0, "n1", "n2 n3"), View("b", "u", 1, "n1 n8", "n4* n5")]
    ((row,), _) = built(spark, views)
    assert (row["click_row"], row["candidate_row"]) == ([1, 4], [[], [4, 5]])  # n2 and n3 are no news of a click


def test_unlabelled_impressions_neither_train_nor_judge(spark: SparkSession) -> None:
    views = [
        View("a", "u", 0, "n8 n9", "n2 n3", labelled=False),
        View("b", "u", 1, "n1", "n4* n5"),
        View("c", "u", AFTER_SPLIT, "n1", "n4 n5", labelled=False),
    ]
    ((row,), evaluated) = built(spark, views)
    assert (row["click_row"], evaluated) == ([1, 4], [])


def test_unlabelled_ones_are_kept_with_their_complete_shown_list_on_request(spark: SparkSession) -> None:
    views = [
        View("a", "u", 0, "n8 n9", "n2 n3", labelled=False),
        View("b", "u", 1, "n1", "n4* n5"),
        View("c", "u", AFTER_SPLIT, "x n1", "n7 x n5 y", labelled=False),
        View("d", "u", AFTER_SPLIT, "n1", "n4* x n5"),
    ]
    ((row,), (unlabelled, evaluated)) = built(spark, views, unlabelled=True)
    assert row["click_row"] == [1, 4]
    assert (unlabelled["shown_row"], unlabelled["clicked"]) == ([7, 0, 5, 0], None)
    assert (unlabelled["shown_id"], unlabelled["history_row"]) == (["n7", "x", "n5", "y"], [1])
    assert unlabelled["shown_age_hours"] == [0, 0, AFTER_SPLIT - 1, 0]
    assert (evaluated["shown_row"], evaluated["clicked"]) == ([4, 5], [True, False])
    assert built(spark, views) == ([row], [evaluated])


def test_a_user_is_new_without_an_impression_that_trains(spark: SparkSession) -> None:
    views = [
        View("a", "known", 0, "", "n2 n3"),
        View("b", "hidden", 0, "", "n2 n3", labelled=False),
        *(View(f"c{user}", user, AFTER_SPLIT + 1, "n1", "n4* n5") for user in ("known", "hidden", "fresh")),
        View("d", "fresh", AFTER_SPLIT, "", "n4* n5"),
    ]
    found = {row["impression_id"]: row["new_user"] for row in built(spark, views)[1]}
    assert found == {"cknown": False, "chidden": True, "cfresh": True, "d": True}


def test_the_other_ids_of_an_impression_travel_along(spark: SparkSession) -> None:
    (evaluated,) = built(spark, [View("a", "u", AFTER_SPLIT, "n1", "n4* n5")])[1]
    assert evaluated["also_seen_as"] == ["again-a"]


def test_each_evaluated_impression_has_the_history_that_it_was_logged_with(spark: SparkSession) -> None:
    views = [
        View("a", "u", 0, "n1", "n2* n3"),
        View("b", "u", AFTER_SPLIT, "n1 n2", "n4* n5"),
        View("c", "u", AFTER_SPLIT + 1, "n2", "n6 n7*"),
    ]
    _, evaluated = built(spark, views)
    assert [row["history_row"] for row in evaluated] == [[1, 2], [2]]
