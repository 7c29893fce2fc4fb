"""Counts of the day before an impression equal those of a loop over its entries."""

from __future__ import annotations

import random
from datetime import timedelta

from pyspark.sql import SparkSession

from tests.pipelines.trajectories.views import AFTER_SPLIT, Items, View, built

ITEMS = Items({f"n{i}": i for i in range(1, 9)} | {"m1": 1})  # m1 has the text of n1


def slow_counts(views: list[View], view: View) -> tuple[list[int], list[int]]:
    """(showings, clicks) of each known news that the view shows, in the 24 hours before it."""
    shown, clicks = [], []
    for news, _ in view.news:
        if news not in ITEMS.rows:
            continue
        before = [
            clicked
            for other in views
            if other.labelled and view.time - timedelta(hours=24) <= other.time < view.time
            for name, clicked in other.news
            if ITEMS.rows.get(name) == ITEMS.rows[news]
        ]
        shown.append(len(before))
        clicks.append(sum(before))
    return shown, clicks


def some_views() -> list[View]:
    """Impressions of three days, some at one moment and some exactly a day apart; some without marks."""
    pick = random.Random(4)
    views = [View("first", "u0", 0, "", "n1* n2")]
    for number in range(60):
        hour = AFTER_SPLIT - 40 + pick.choice((*range(0, 66, 6), pick.uniform(0, 66)))
        names = pick.sample([*ITEMS.rows, "x1"], 4)
        words = " ".join(name + pick.choice(("", "", "*")) for name in names)
        views.append(View(f"v{number:02}", f"u{number % 7}", hour, "", words, labelled=pick.random() < 0.9))
    return views


def test_counts_are_those_of_the_24_hours_before_and_never_of_the_moment_itself(spark: SparkSession) -> None:
    views = some_views()
    _, evaluated = built(spark, views, ITEMS)
    assert len(evaluated) > 20
    view_of = {view.impression_id: view for view in views}
    found = {row["impression_id"]: (row["recent_shown"], row["recent_clicks"]) for row in evaluated}
    assert found == {name: slow_counts(views, view_of[name]) for name in found}
    assert any(sum(clicks) for _, clicks in found.values())


def test_an_unlabelled_impression_counts_for_nobody_and_has_counts_itself(spark: SparkSession) -> None:
    views = [
        View("a", "u", 0, "", "n1* n2"),
        View("b", "u", AFTER_SPLIT, "", "n3* n4"),
        View("c", "v", AFTER_SPLIT + 1, "", "n3 x n4", labelled=False),
        View("d", "v", AFTER_SPLIT + 2, "", "n4* n3"),
    ]
    found = {row["impression_id"]: row for row in built(spark, views, unlabelled=True)[1]}
    assert (found["c"]["shown_row"], found["c"]["recent_shown"], found["c"]["recent_clicks"]) == (
        [3, 0, 4],
        [1, 0, 1],
        [1, 0, 0],
    )
    assert (found["d"]["recent_shown"], found["d"]["recent_clicks"]) == ([1, 1], [0, 1])
