"""`from` and `to` limit the trajectories to a period."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from pyspark.sql import Row, SparkSession

from tests.pipelines.trajectories.reference import expected, random_log
from tests.pipelines.trajectories.views import AFTER_SPLIT, Items, View, built

CUTS = ("2026-03-02T11:00:00", "2026-03-03T06:00:00+01:00")  # hours 2 and 20: impressions stand on both
PERIODS = ({"to": CUTS[0]}, {"from_": CUTS[0], "to": CUTS[1]}, {"from_": CUTS[1]})


def random_logs(seed: int, cases: int) -> tuple[list[View], Items]:
    logs = [random_log(random.Random(f"{seed} {case}"), case) for case in range(cases)]
    return [view for views, _ in logs for view in views], Items({n: r for _, i in logs for n, r in i.rows.items()})


def targets_of(rows: Sequence[Row | dict[str, Any]], *, drawn: bool = True) -> Counter[tuple[Any, ...]]:
    """(user, click, what it may see, candidates) of every target; without `drawn`, a history click's are left out."""
    found: Counter[tuple[Any, ...]] = Counter()
    for row in rows:
        each = zip(row["click_row"], row["prefix"], row["candidate_row"], row["logged"], strict=True)
        for click, prefix, listed, logged in each:
            if listed:
                seen = tuple(row["click_row"][:prefix])
                found[row["user_id"], click, seen, tuple(listed) if drawn or logged else logged] += 1
    return found


@pytest.fixture(scope="module")
def log() -> tuple[list[View], Items]:
    return random_logs(21, cases=25)


def test_periods_have_together_the_targets_of_one_run_each_in_the_same_context(
    spark: SparkSession, log: tuple[list[View], Items]
) -> None:
    options: dict[str, Any] = {"targets": "all", "window": 100}
    parts = [targets_of(built(spark, *log, **options, **period)[0], drawn=False) for period in PERIODS]
    assert all(len(part) > 15 for part in parts)
    assert sum(parts, Counter()) == targets_of(built(spark, *log, **options)[0], drawn=False)


def test_in_short_windows_a_target_sees_the_latest_of_what_it_may(
    spark: SparkSession, log: tuple[list[View], Items]
) -> None:
    names = ("user_id", "window", "time", "click_row", "prefix", "candidate_row", "weight", "logged")
    expected_rows = [dict(zip(names, row, strict=True)) for row in expected(*log, window=10**6, candidates=5, seed=1)]
    complete = targets_of(expected_rows)
    found: Counter[tuple[Any, ...]] = Counter()
    for period in PERIODS:
        rows, _ = built(spark, *log, window=4, **period)
        found += targets_of(rows)
        assert all(max(row["weight"]) > 0 for row in rows)
    assert sorted((user, click, listed) for user, click, _, listed in found.elements()) == sorted(
        (user, click, listed) for user, click, _, listed in complete.elements()
    )
    allowed = {(user, click, listed, seen[len(seen) - n :]) for user, click, seen, listed in complete for n in range(4)}
    assert {(user, click, listed, seen) for user, click, seen, listed in found} <= allowed


def test_nothing_from_the_end_on_changes_a_trajectory_of_the_period(
    spark: SparkSession, log: tuple[list[View], Items]
) -> None:
    views, items = log
    options: dict[str, Any] = {"targets": "all", "window": 5, "from_": CUTS[0], "to": CUTS[1]}
    before, _ = built(spark, views, items, **options)
    rng = random.Random(3)
    words = [news for view in views for news, _ in view.news]
    changed = [
        replace(view, shown=" ".join(rng.choice(words) + "*" * (rng.random() < 0.5) for _ in range(4)))
        if view.hour >= 20
        else view
        for view in views
    ]
    assert len(before) > 15
    assert built(spark, changed, items, **options)[0] == before


def test_what_lies_between_the_end_and_the_evaluation_does_not_exist(spark: SparkSession) -> None:
    views = [
        View("a", "u", 0, "n1", "n2* n3"),
        View("b", "u", 3, "", "n4* n5"),
        View("c", "u", 25, "", "n6* n7"),
        View("d", "u", AFTER_SPLIT, "", "n8* n9"),
        View("e", "idle", 0, "n10", "n11* n12"),
        View("f", "idle", 25, "", "n11* n12"),
        View("g", "idle", AFTER_SPLIT, "", "n8* n9"),
    ]
    (row,), evaluated = built(spark, views, from_="2026-03-02T10:00:00", to="2026-03-03")
    assert (row["click_row"], row["candidate_row"]) == ([1, 2, 4], [[], [], [4, 5]])
    assert row["weight"] == [0, 0, 1]
    assert {r["impression_id"]: r["new_user"] for r in evaluated} == {"d": False, "g": True}
