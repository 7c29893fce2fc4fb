from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from pyspark.sql import Row, SparkSession

from pipelines.trajectories.day_negatives import draw_earlier_clicks
from tests.pipelines.trajectories.views import AFTER_SPLIT, Items, View, built

ITEMS = Items({f"n{i}": i for i in range(1, 201)})


def draws(clicks: Sequence[tuple[int, int]], moments: Sequence[int], *, taken: int, seed: int = 1) -> Any:
    """The drawn rows of each moment; clicks are (moment, row)."""
    at_T, row_T = (np.array(column, np.int64) for column in zip(*clicks, strict=True))
    coin_E = np.random.default_rng(seed).integers(-(2**63), 2**63, len(moments))
    return draw_earlier_clicks((at_T, row_T), (np.array(moments, np.int64), coin_E), taken=taken)


def test_news_are_drawn_in_proportion_to_their_clicks_so_far_to_the_power_of_three_quarters() -> None:
    counts = {row: row**2 for row in range(1, 16)}
    rng = np.random.default_rng(2)
    before = rng.permutation([row for row, count in counts.items() for _ in range(count)])
    later = [(5000 + n, 99) for n in range(3000)]
    clicks = [(int(at), int(row)) for at, row in enumerate(before)] + later
    drawn = Counter(draws(clicks, [4999] * 400, taken=50).ravel().tolist())
    total = sum(count**0.75 for count in counts.values())
    wanted = {row: 20_000 * count**0.75 / total for row, count in counts.items()}
    assert set(drawn) <= set(counts)
    assert sum((drawn[row] - wanted[row]) ** 2 / wanted[row] for row in counts) < 36.1  # chi-square, 14 degrees: p .001


def test_only_what_was_clicked_before_a_moment_is_drawn_and_nothing_later_changes_a_draw() -> None:
    clicks = [(10, 1), (20, 2), (20, 3), (30, 4)]
    found = draws(clicks, [10, 20, 21, 31], taken=40)
    assert [set(rows.tolist()) for rows in found] == [{-1}, {1}, {1, 2, 3}, {1, 2, 3, 4}]
    more = [*clicks, *((31 + n, 2) for n in range(50)), (15 + 100, 7)]
    assert np.array_equal(draws(more[::-1], [10, 20, 21, 31], taken=40), found)
    assert not np.array_equal(draws(clicks, [10, 20, 21, 31], taken=40, seed=2), found)


def click_only(seed: int, users: int = 12, hours: Sequence[float] = (0, 30, 50, 60)) -> list[View]:
    """A log of clicks alone: each user clicks now and then, on four dates of which the last two evaluate."""
    rng = np.random.default_rng(seed)
    views = []
    for number, (user, day) in enumerate((u, d) for u in range(users) for d in hours for _ in range(4)):
        news = 1 + int(40 * rng.random() ** 2) + 10 * int(day // 24)
        views.append(View(f"i{number:03d}", f"u{user}", day + 3 * rng.random(), "", f"n{news}*"))
    return views


def own_clicks(views: Sequence[View], *, before: float = np.inf) -> dict[str, set[int]]:
    own: dict[str, set[int]] = {}
    for view in views:
        if view.hour < before:
            clicked = {ITEMS.rows[news] for news, clicked in view.news if clicked}
            own.setdefault(view.user_id, set()).update(clicked)
    return own


def clicked_before(views: Sequence[View], view_time: Any) -> set[int]:
    """News clicked by anyone on the day of a moment, before it."""
    return {
        ITEMS.rows[news]
        for v in views
        for news, _ in v.news
        if v.time < view_time and v.time.date() == view_time.date()
    }


OPTIONS: dict[str, Any] = {"negatives": "drawn", "candidates": 4, "drawn_candidates": 12, "window": 100}


@pytest.fixture(scope="module")
def views() -> list[View]:
    return click_only(1)


@pytest.fixture(scope="module")
def made(spark: SparkSession, views: list[View]) -> tuple[list[Row], list[Row]]:
    """The trajectories and evaluated impressions of the log."""
    return built(spark, views, ITEMS, **OPTIONS)


def targets(rows: Sequence[Row]) -> list[tuple[str, int, list[int]]]:
    """(user, position, candidates) of every click; here one window holds a user's complete sequence."""
    return [(row["user_id"], n, listed) for row in rows for n, listed in enumerate(row["candidate_row"])]


def test_clicks_without_shown_news_train_against_news_of_their_day_that_their_user_never_clicked(
    views: list[View], made: tuple[list[Row], list[Row]]
) -> None:
    own, trained = own_clicks(views, before=48), [view for view in views if view.trains]
    in_order = sorted((view.user_id, view.time) for view in trained)
    times = {user: [time for name, time in in_order if name == user] for user, _ in in_order}
    found = targets(made[0])
    assert len(found) == len(trained)
    assert Counter(len(listed) for *_, listed in found)[4] > 60
    for user, place, listed in found:
        assert len(set(listed)) == len(listed) != 1
        assert not set(listed[1:]) & own[user]
        assert set(listed[1:]) <= clicked_before(views, times[user][place])


def test_evaluated_clicks_are_ranked_against_drawn_news_of_their_day_that_their_user_never_clicked(
    views: list[View], made: tuple[list[Row], list[Row]]
) -> None:
    own, by_id = own_clicks(views), {view.impression_id: view for view in views}
    assert len(made[1]) == sum(not view.trains for view in views)
    places: Counter[bool] = Counter()
    for row in made[1]:
        view = by_id[row["impression_id"]]
        drawn = [shown for shown, clicked in zip(row["shown_row"], row["clicked"], strict=True) if not clicked]
        assert row["drawn"] is True
        assert [f"n{shown}" for shown in row["shown_row"]] == row["shown_id"]
        assert {shown for shown in row["shown_row"] if shown not in drawn} == {ITEMS.rows[view.news[0][0]]}
        assert len(drawn) == len(set(drawn)) <= 12
        assert not set(drawn) & own[row["user_id"]]
        assert set(drawn) <= clicked_before(views, view.time)
        assert min(row["shown_age_hours"]) >= 0
        places[row["clicked"][0]] += 1
    assert places[False] > 3 * places[True] > 0  # the clicked news does not come first


def test_what_others_do_later_changes_no_negative_in_training_or_evaluation(
    spark: SparkSession, views: list[View], made: tuple[list[Row], list[Row]]
) -> None:
    late = AFTER_SPLIT + 1.5
    later = [View(f"z{n}", f"other{n}", late + n / 20, "", "n199* n200*") for n in range(50)]
    trained, evaluated = built(spark, [*views, *later], ITEMS, **OPTIONS)
    before = {view.impression_id for view in views if view.hour <= late}
    assert len(before & {row["impression_id"] for row in evaluated}) > 10
    assert trained == made[0]
    assert [row for row in evaluated if row["impression_id"] in before] == [
        row for row in made[1] if row["impression_id"] in before
    ]
    assert [row for row in evaluated if not row["impression_id"].startswith("z")] != made[1]  # after it


def test_draws_depend_neither_on_user_ids_nor_on_how_tables_are_cut(
    spark: SparkSession, views: list[View], made: tuple[list[Row], list[Row]]
) -> None:
    renamed = [View(v.impression_id, f"x{v.user_id}", v.hour, v.history, v.shown) for v in views]

    def contents(sides: tuple[list[Row], list[Row]]) -> list[list[str]]:
        return [sorted(repr({**row.asDict(), "user_id": ""}) for row in side) for side in sides]

    assert contents(built(spark, renamed, ITEMS, parts=5, **OPTIONS)) == contents(made)


def test_a_period_has_the_negatives_of_the_run_over_all(
    spark: SparkSession, views: list[View], made: tuple[list[Row], list[Row]]
) -> None:
    part, _ = built(spark, views, ITEMS, **OPTIONS, from_="2026-03-02T10:30:00")
    within, complete = (
        {(user, place, tuple(listed)) for user, place, listed in targets(rows) if listed} for rows in (part, made[0])
    )
    assert within < complete
    assert len(within) > 60


def test_unlabelled_impressions_keep_their_shown_news_among_drawn_ones(spark: SparkSession) -> None:
    log = [
        View("a", "u", 0, "", "n1* n2"),
        View("b", "v", 1, "n8", "n3* n4"),
        View("c", "u", AFTER_SPLIT, "", "n5*"),
        View("d", "v", AFTER_SPLIT + 1, "n9", "n6* n7"),
        View("e", "v", AFTER_SPLIT + 2, "n9", "n5 n6", labelled=False),
        View("f", "v", AFTER_SPLIT + 2, "n9", "n5 n6"),
    ]
    trained, found = built(spark, log, negatives="drawn", targets="all", unlabelled=True, drawn_candidates=3)
    listed = {row["impression_id"]: (sorted(row["shown_row"]), row["drawn"]) for row in found}
    assert listed == {"c": ([5], True), "d": ([5, 6], True), "e": ([5, 6], False)}  # f has no click to rank
    (row,) = trained  # u clicked first: nothing was known by then
    assert (row["click_row"], row["logged"], row["candidate_row"][1]) == ([8, 3], [False, True], [3, 1])
    assert row["candidate_row"][0][0] == 8  # a history click has no day: it is drawn for as ever
