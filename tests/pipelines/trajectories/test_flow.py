from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import xxhash
from pyspark.sql import Row, SparkSession

from pipelines.lake.tables import Lake
from pipelines.trajectories.config import TrajectoryConfig
from pipelines.trajectories.flow import build_trajectories
from schemas.errors import InputError
from schemas.impression import HISTORIES, IMPRESSIONS
from schemas.news import ITEM_TOKENS
from schemas.trajectory import EVALUATION, TRAJECTORIES
from tests.pipelines.trajectories.reference import as_tuples, expected, expected_ages, random_log, training_clicks
from tests.pipelines.trajectories.views import AFTER_SPLIT, SPLIT, Items, View, built, impressions, item_tokens

_OF_OTHERS = ("shown_age_hours", "recent_shown", "recent_clicks", "new_user")


def random_logs(seed: int, cases: int) -> tuple[list[View], Items]:
    """Many random logs in one: no user and no news of one is in another."""
    logs = [random_log(random.Random(f"{seed} {case}"), case) for case in range(cases)]
    merged = Items({name: row for _, items in logs for name, row in items.rows.items()})
    return [view for views, _ in logs for view in views], merged


@pytest.mark.parametrize(("seed", "window", "candidates"), [(1, 3, 3), (2, 5, 5), (3, 50, 2)])
def test_random_logs_give_what_the_rules_say_one_click_at_a_time(
    spark: SparkSession, seed: int, window: int, candidates: int
) -> None:
    views, items = random_logs(seed, cases=40)
    options = {"window": window, "candidates": candidates, "seed": seed}
    rows = expected(views, items, **options)
    assert as_tuples(built(spark, views, items, **options)[0]) == rows
    assert len(rows) > 60


def test_variants_hold_the_same_clicks_with_other_negatives(spark: SparkSession) -> None:
    views, items = random_logs(5, cases=20)
    options: dict[str, Any] = {"window": 5, "candidates": 2, "seed": 5}

    def window_of(row: Row) -> tuple[Any, ...]:
        return row["user_id"], row["window"], row["click_row"], row["prefix"], row["weight"]

    alone, _ = built(spark, views, items, **options)
    found, _ = built(spark, views, items, **options, variants=3)
    variants = [sorted((row for row in found if row["variant"] == v), key=window_of) for v in range(3)]
    assert as_tuples(variants[0]) == as_tuples(alone)
    assert [window_of(row) for row in variants[1]] == [window_of(row) for row in variants[0]]
    drawn = [[row["candidate_row"] for row in rows] for rows in variants]
    assert len(found) == 3 * len(alone) > 60
    assert all(drawn[a] != drawn[b] for a, b in [(0, 1), (0, 2), (1, 2)])


def test_with_all_targets_every_history_click_has_candidates_that_keep_the_rules(spark: SparkSession) -> None:
    views, items = random_logs(4, cases=10)
    pool = training_clicks(views, items)
    options: dict[str, Any] = {"window": 6, "candidates": 4, "seed": 4}
    logged, _ = built(spark, views, items, **options)
    found, _ = built(spark, views, items, **options, targets="all", history_weight=0.5)
    drawn = [
        (row["click_row"], click, listed, weight)
        for row in found
        for click, listed, weight, in_log in zip(
            row["click_row"], row["candidate_row"], row["weight"], row["logged"], strict=True
        )
        if not in_log
    ]
    assert len(drawn) > 50
    for window, click, listed, weight in drawn:
        assert (listed[0], len(listed), len(set(listed)), weight) == (click, 4, 4, 0.5)
        assert not set(listed[1:]) & set(window)
        assert set(listed[1:]) <= set(pool)

    def without_drawn(row: Row) -> tuple[Any, ...]:
        kept = [listed if in_log else [] for listed, in_log in zip(row["candidate_row"], row["logged"], strict=True)]
        return (row["user_id"], row["window"], row["click_row"], row["prefix"], kept, row["logged"])

    of_logged = {(row["user_id"], row["window"]) for row in logged}
    assert [without_drawn(row) for row in found if (row["user_id"], row["window"]) in of_logged] == [
        without_drawn(row) for row in logged
    ]  # logged clicks are the same, and windows of histories alone are added
    assert len(found) > len(logged)


def changed_after_the_split(views: list[View], rng: random.Random) -> list[list[View]]:
    """The same log before the split; later impressions moved, changed, removed, added, or new users' own."""
    later = [view for view in views if view.time.date() >= SPLIT]
    before = [view for view in views if view not in later]
    words = [news for view in views for news, _ in view.news]
    users = sorted({view.user_id for view in views})

    def text(count: int, clicked: bool = False) -> str:
        return " ".join(rng.choice(words) + "*" * (clicked and rng.random() < 0.5) for _ in range(count))

    added = [
        View(f"z{n}", rng.choice([*users, "newcomer"]), AFTER_SPLIT + rng.random() * 90, text(5), text(4, clicked=True))
        for n in range(20)
    ]
    moved = [replace(view, hour=view.hour + 1 + 40 * rng.random()) for view in later]
    logged_again = [replace(view, history=text(6), shown=text(3, clicked=True)) for view in later]
    assert later
    return [before, before + moved, before + logged_again, views + added]


def test_nothing_after_the_split_changes_a_trajectory(spark: SparkSession) -> None:
    views, items = random_logs(9, cases=6)
    options: dict[str, Any] = {"targets": "all", "window": 5}  # logged targets are the same in either mode
    before, _ = built(spark, views, items, **options)
    assert len(before) > 10
    for other in changed_after_the_split(views, random.Random(9)):
        assert built(spark, other, items, **options)[0] == before


def test_an_evaluated_impression_depends_on_nothing_but_itself(spark: SparkSession) -> None:
    views, items = random_logs(10, cases=20)

    def evaluated_rows(
        views: list[View],
    ) -> dict[str, Row]:  # but for the ages of its news, and whether its user is known
        rows = [row.asDict() for row in built(spark, views, items)[1]]
        return {
            f"{r['impression_id']}{r['user_id']}": {n: v for n, v in r.items() if n not in _OF_OTHERS} for r in rows
        }

    rows = evaluated_rows(views)
    assert len(rows) > 15
    rng = random.Random(10)
    evaluated = [view for view in views if view.labelled and view.time.date() >= SPLIT]
    kept = rng.sample(evaluated, len(evaluated) // 2)
    own_future = [replace(v, impression_id=f"z{n}", hour=v.hour + 1, shown=v.history) for n, v in enumerate(kept)]
    own_past = [view for view in views if view not in evaluated and rng.random() < 0.5]
    found = evaluated_rows(kept + own_past + [view for view in own_future if view.shown])
    assert {name: row for name, row in found.items() if not name.startswith("z")}.items() <= rows.items()


def test_ages_are_what_a_slow_look_at_every_earlier_showing_gives(spark: SparkSession) -> None:
    views, items = random_logs(11, cases=20)
    found = built(spark, views, items, unlabelled=True)[1]
    ages = {(row["impression_id"], row["user_id"]): row["shown_age_hours"] for row in found}
    slow = expected_ages(views, items)
    assert ages.keys() == slow.keys()
    assert len(ages) > 30
    for name, found_ages in ages.items():
        assert found_ages == pytest.approx(slow[name], rel=1e-6)
    every = [age for found_ages in ages.values() for age in found_ages]
    assert min(every) == 0 < max(every)


def test_nothing_later_changes_an_evaluated_impression(spark: SparkSession) -> None:
    views, items = random_logs(12, cases=10)
    early = [view for view in views if view.hour <= AFTER_SPLIT]
    rows = built(spark, early, items, unlabelled=True)[1]
    with_later = built(spark, views, items, unlabelled=True)[1]
    assert len(with_later) > len(rows) > 10
    assert [row for row in with_later if row["time"] <= max(row["time"] for row in rows)] == rows


def test_an_event_moved_past_the_split_leaves_training_as_if_it_had_never_been(spark: SparkSession) -> None:
    log = [View("a", "u", 0, "n1", "n2* n3"), View("b", "u", 1, "n1", "n4* n5"), View("c", "v", 2, "n6 n7", "n8* n9")]
    moved = [replace(view, hour=AFTER_SPLIT) if view.user_id == "v" else view for view in log]
    without, with_moved, complete = (built(spark, views, targets="all")[0] for views in (log[:2], moved, log))
    assert with_moved == without != complete


def test_replacing_user_ids_changes_nothing_else(spark: SparkSession) -> None:
    views, items = random_logs(5, cases=6)
    hashed = [replace(view, user_id=xxhash.xxh64_hexdigest(view.user_id.encode())) for view in views]

    def contents(views: list[View]) -> list[list[str]]:
        found = built(spark, views, items, targets="all", window=5)
        return [sorted(repr({**r.asDict(), "user_id": ""}) for r in side) for side in found]

    assert contents(hashed) == contents(views)


def test_how_the_tables_are_cut_into_files_changes_nothing(spark: SparkSession) -> None:
    views, items = random_logs(6, cases=6)
    complete, cut = (built(spark, views, items, parts=parts, targets="all", window=5) for parts in (1, 7))
    assert complete == cut


def write_inputs(spark: SparkSession, lake: Lake, views: list[View]) -> None:
    seen, histories = impressions(spark, views)
    for table, frame in ((IMPRESSIONS, seen), (HISTORIES, histories), (ITEM_TOKENS, item_tokens(spark, Items()))):
        lake.overwrite(table, frame)


def test_both_tables_are_written_and_a_second_run_leaves_them_as_they_are(spark: SparkSession, tmp_path: Path) -> None:
    lake, config = Lake(spark, str(tmp_path)), TrajectoryConfig(source="p")
    views = [
        View("a", "u", 0, "n1", "n2* n3"),
        View("b", "u", 24, "", "n4* n5 x"),
        View("c", "v", AFTER_SPLIT, "", "n4* n5"),
    ]
    write_inputs(spark, lake, views)
    made = build_trajectories(lake, config)
    assert made.summary == {
        "evaluate_from": "2026-03-04",
        "split_by": "last_date",
        "negatives": "shown",
        "unknown_news": 1,
        "evaluation_impressions": 1,
        "unlabelled_impressions": 0,
        "trajectories": 1,
        "users": 1,
        "clicks": 3,
        "targets": 2,
        "history_targets": 0,
        "variants": 1,
    }
    assert made.inputs == lake.versions([IMPRESSIONS, HISTORIES, ITEM_TOKENS])
    assert build_trajectories(lake, config) == made
    assert made.outputs == lake.versions([TRAJECTORIES, EVALUATION])

    earlier = build_trajectories(lake, replace(config, evaluate_from="2026-03-03")).summary
    assert (earlier["targets"], earlier["evaluation_impressions"]) == (1, 2)
    with pytest.raises(InputError, match="no impression before 2026-03-02 has both a click"):
        build_trajectories(lake, replace(config, evaluate_from="2026-03-02"))
    with pytest.raises(InputError, match="Set an earlier --evaluate-from"):
        build_trajectories(lake, replace(config, evaluate_from="2026-03-09"))
    assert lake.read(EVALUATION).count() == 2  # refused runs wrote nothing


def test_old_versions_of_the_inputs_give_the_trajectories_of_then(spark: SparkSession, tmp_path: Path) -> None:
    lake, config = Lake(spark, str(tmp_path)), TrajectoryConfig(source="p")
    views = [View("a", "u", 0, "n1", "n2* n3"), View("b", "u", AFTER_SPLIT, "", "n4* n5")]
    write_inputs(spark, lake, views)
    then = build_trajectories(lake, config)
    rows = as_tuples(lake.read(TRAJECTORIES).collect())
    seen, _ = impressions(spark, [*views, View("c", "u", 1, "", "n6* n7")])
    lake.overwrite(IMPRESSIONS, seen)
    now = build_trajectories(lake, config)
    assert (now.summary["targets"], now.inputs["impressions"]) == (2, then.inputs["impressions"] + 1)

    again = build_trajectories(lake, config, read_from=lake.as_of(then.inputs))
    assert (again.summary, again.inputs) == (then.summary, then.inputs)
    assert as_tuples(lake.read(TRAJECTORIES).collect()) == rows
    assert again.outputs["trajectories"] > now.outputs["trajectories"]  # a new version; nothing old is taken away


def test_logs_of_one_date_are_split_by_time_and_a_rest_evaluates(spark: SparkSession, tmp_path: Path) -> None:
    lake = Lake(spark, str(tmp_path))
    write_inputs(spark, lake, [View(f"i{hour}", "u", hour, "n1", f"n{hour + 2}* n30") for hour in range(6)])
    made = build_trajectories(lake, TrajectoryConfig(source="p")).summary
    assert (made["evaluate_from"], made["split_by"], made["evaluate_share"]) == ("2026-03-02T13:00:00Z", "share", 0.2)
    assert (made["targets"], made["evaluation_impressions"]) == (4, 2)
    (row,) = lake.read(TRAJECTORIES).collect()
    evaluated = {row["impression_id"]: row["new_user"] for row in lake.read(EVALUATION).collect()}
    assert (row["click_row"], evaluated) == ([1, 2, 3, 4, 5], {"i4": False, "i5": False})
    later = build_trajectories(lake, TrajectoryConfig(source="p", evaluate_from="2026-03-02T14:00:00Z")).summary
    assert (later["targets"], later["evaluation_impressions"]) == (5, 1)


def test_logs_without_a_source_or_of_one_moment_are_refused(spark: SparkSession, tmp_path: Path) -> None:
    lake = Lake(spark, str(tmp_path))
    write_inputs(spark, lake, [View("a", "u", 0, "n1", "n2* n3"), View("b", "v", 0, "n1", "n4* n5")])
    with pytest.raises(InputError, match=r"of one second, .* Ingest logs of a longer period"):
        build_trajectories(lake, TrajectoryConfig(source="p"))
    with pytest.raises(InputError, match="source 'other': no impression has click marks"):
        build_trajectories(lake, TrajectoryConfig(source="other"))
    assert not lake.exists(TRAJECTORIES)
