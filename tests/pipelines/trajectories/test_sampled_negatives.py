from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import pytest
from pyspark.sql import DataFrame, Row, SparkSession

from pipelines.trajectories.sampled_negatives import popularity, popularity_cells, with_drawn_negatives
from tests.pipelines.trajectories.views import View, built

EVENT = "struct<position:int,seen:int,row:int,candidate_row:array<int>,logged:boolean,time:timestamp>"
WINDOWS = f"source string, user_id string, window int, begin int, events array<{EVENT}>"


def windows(spark: SparkSession, clicks: Sequence[Sequence[int]]) -> DataFrame:
    """One window of history clicks per user."""
    rows: list[tuple[object, ...]] = [
        ("p", f"u{n:04d}", 0, 0, [(at, at, row, [], False, None) for at, row in enumerate(own)])
        for n, own in enumerate(clicks)
    ]
    return spark.createDataFrame(rows, WINDOWS)


def clicked(spark: SparkSession, clicks: Mapping[int, int]) -> DataFrame:
    return spark.createDataFrame(list(clicks.items()), "row int, clicks long")


def listed(found: DataFrame) -> list[list[int]]:
    rows: list[Row] = found.orderBy("user_id").collect()
    return [event["candidate_row"] for row in rows for event in row["events"]]


def test_news_are_drawn_in_proportion_to_clicks_to_the_power_of_three_quarters(spark: SparkSession) -> None:
    clicks = {row: row**3 for row in range(1, 21)}
    users = [range(1000 + 40 * user, 1040 + 40 * user) for user in range(400)]  # none of them clicked what is drawn
    found = listed(windows(spark, users).transform(with_drawn_negatives, clicked(spark, clicks), candidates=2, seed=3))
    drawn, total = Counter(others[1] for others in found), sum(count**0.75 for count in clicks.values())
    wanted = {row: len(found) * count**0.75 / total for row, count in clicks.items()}
    assert len(found) == 16000
    assert sum((drawn[row] - wanted[row]) ** 2 / wanted[row] for row in clicks) < 43.8  # chi-square, 19 degrees: p .001


def test_news_that_own_less_than_a_cell_of_the_line_have_their_share_all_the_same(spark: SparkSession) -> None:
    often, rare = (10**9) ** 0.75, 3000  # each of the rare ones owns a fifth of a cell
    clicks = {1: 10**9, **dict.fromkeys(range(2, 2 + rare), 1)}
    line = popularity_cells(clicked(spark, clicks), taken=20, seed=1).tolist()
    assert line[-20:] == line[:20]
    cells = Counter(line[:-20])
    assert cells[1] / (len(line) - 20) == pytest.approx(often / (often + rare), abs=1e-4)
    assert cells.total() - cells[1] == pytest.approx((1 << 20) * rare / (often + rare), rel=0.2)


def test_clicks_of_the_window_are_never_drawn_and_no_news_twice(spark: SparkSession) -> None:
    clicks = {row: 20 if row <= 5 else 1 for row in range(1, 31)}
    users = [[1, 2, 3, 4, 5, 6 + user] for user in range(25)]  # two thirds of the line are their own
    found = listed(windows(spark, users).transform(with_drawn_negatives, clicked(spark, clicks), candidates=3, seed=1))
    for number, (own, *others) in enumerate(found):
        assert (own, len(set(others)), len(others)) == (users[number // 6][number % 6], 2, 2)
        assert not set(others) & set(users[number // 6])
    assert len(found) == 150


def test_a_catalogue_hardly_larger_than_the_window_gives_fewer_candidates_or_none(spark: SparkSession) -> None:
    pool = clicked(spark, {1: 1, 2: 1, 3: 1})
    assert listed(windows(spark, [[1, 2]]).transform(with_drawn_negatives, pool, candidates=5, seed=1)) == [
        [1, 3],
        [2, 3],
    ]
    assert listed(windows(spark, [[1, 2, 3]]).transform(with_drawn_negatives, pool, candidates=5, seed=1)) == [
        [],
        [],
        [],
    ]


def test_draws_depend_on_seed_position_and_news_alone(spark: SparkSession) -> None:
    pool = clicked(spark, {row: row for row in range(100, 200)})

    def drawn(users: Sequence[Sequence[int]], seed: int = 1) -> list[list[int]]:
        return listed(
            windows(spark, users).transform(with_drawn_negatives, pool.repartition(5), candidates=5, seed=seed)
        )

    first, again = drawn([[1, 2, 1], [1, 3]]), drawn([[9], [1, 2, 1]])
    assert first[:3] == again[1:]
    assert first[0] == first[3] != first[2]  # equal place and news; the same news at another place
    assert first != drawn([[1, 2, 1], [1, 3]], seed=2)


def test_popularity_counts_logged_clicks_and_each_users_history_once(spark: SparkSession) -> None:
    views = spark.createDataFrame(
        [([1, 1, 2], [3]), ([], [3, 1]), ([2], [])], "history_row array<int>, click_row array<int>"
    )
    assert {row["row"]: row["clicks"] for row in popularity(views).collect()} == {1: 3, 2: 2, 3: 2}


def test_news_that_only_later_clicks_or_histories_name_are_never_drawn(spark: SparkSession) -> None:
    views = [
        View("a", "u", 0, "n1 n2", "n3* n4"),
        View("b", "v", 1, "n5 n6", "n7* n8"),
        View("c", "v", 60, "n20 n21", "n22* n23"),
        View("d", "w", 61, "n24 n25 n26", "n27* n28"),
    ]
    found, _ = built(spark, views, targets="all")
    candidates = {row["user_id"]: row["candidate_row"][:2] for row in found}
    assert [[set(listed) for listed in candidates[user]] for user in "uv"] == [
        [{1, 5, 6, 7}, {2, 5, 6, 7}],
        [{5, 1, 2, 3}, {6, 1, 2, 3}],
    ]
