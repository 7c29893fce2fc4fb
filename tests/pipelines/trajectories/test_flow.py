from __future__ import annotations

import random
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import xxhash
from pyspark.sql import DataFrame, Row, SparkSession

from pipelines.histories import hash_of
from pipelines.tables import Lake
from pipelines.trajectories.candidates import with_clicks
from pipelines.trajectories.flow import TrajectoryConfig, build_trajectories, evaluation, trajectories
from pipelines.trajectories.resolve import with_known_news
from pipelines.trajectories.split import labelled_of, with_split
from schemas.as_spark import spark_schema
from schemas.errors import InputError
from schemas.impression import HISTORIES, IMPRESSIONS
from schemas.news import ITEM_TOKENS
from schemas.trajectory import EVALUATION, TRAJECTORIES

START = datetime(2026, 3, 2, 9, tzinfo=UTC)
SPLIT = date(2026, 3, 4)


@dataclass(frozen=True)
class View:
    """One impression: hours after START, and news ids as words; a star marks a click."""

    impression_id: str
    user_id: str
    hour: float
    history: str
    shown: str
    labelled: bool = True

    @property
    def time(self) -> datetime:
        return START + timedelta(hours=self.hour)

    @property
    def news(self) -> list[tuple[str, bool]]:
        return [(word.strip("*"), word.endswith("*")) for word in self.shown.split()]


@dataclass
class Items:
    """item row and canonical row of each known news id."""

    rows: dict[str, tuple[int, int]] = field(default_factory=lambda: {f"n{i}": (i, i) for i in range(1, 41)})


def impressions(spark: SparkSession, views: list[View]) -> tuple[DataFrame, DataFrame]:
    """IMPRESSIONS and HISTORIES."""
    data = [
        (v.impression_id, v.user_id, v.time, v.time.date(), v.history.split(), [n for n, _ in v.news],
         [c for _, c in v.news] if v.labelled else None)
        for v in views
    ]  # fmt: skip
    columns = "impression_id string, user_id string, time timestamp, date date, history array<string>, "
    told = spark.createDataFrame(data, columns + "shown array<string>, clicked array<boolean>").selectExpr(
        "*", "'p' AS source", "size(history) AS history_length", "0L AS first_batch", "history AS clicks"
    )
    told = told.withColumn("history_hash", hash_of(told["history"])).withColumn(
        "sequence_hash", hash_of(told["history"])
    )
    return told.select(*IMPRESSIONS.column_names), told.select(*HISTORIES.column_names)


def item_tokens(spark: SparkSession, items: Items) -> DataFrame:
    data = [("p", name, row, canonical, "t", 1, "k", [0], [[1, 2]]) for name, (row, canonical) in items.rows.items()]
    return spark.createDataFrame(data, spark_schema(ITEM_TOKENS))


def built(
    spark: SparkSession, views: list[View], items: Items | None = None, **options: Any
) -> tuple[list[Row], list[Row]]:
    """(TRAJECTORIES, EVALUATION) rows, in order."""
    seen, histories = impressions(spark, views)
    found = (
        labelled_of(seen, "p")
        .transform(with_split, histories, evaluate_from=SPLIT)
        .transform(with_known_news, item_tokens(spark, items or Items()))
        .transform(with_clicks)
        .persist()
    )
    made = found.transform(trajectories, TrajectoryConfig(source="p", **options)).collect()
    kept = found.transform(evaluation).collect()
    found.unpersist()
    return sorted(made, key=lambda r: (r["user_id"], r["window"])), sorted(kept, key=lambda r: r["impression_id"])


def draw(seed: int, position: int, row: int) -> int:
    """Spark's xxhash64 of (long, int, int), by another library."""
    state = 42
    for value, size in ((seed, 8), (position, 4), (row, 4)):
        state = xxhash.xxh64_intdigest(value.to_bytes(size, "little", signed=True), seed=state)
    return state - 2**64 if state >= 2**63 else state


def slow(views: list[View], items: Items, *, window: int, candidates: int, seed: int) -> list[tuple[Any, ...]]:
    """The rules of the trajectories, one click at a time."""
    found = []
    before = [view for view in views if view.labelled and view.time.date() < SPLIT]
    for user in sorted({view.user_id for view in before}):
        own = sorted((v for v in before if v.user_id == user), key=lambda v: (v.time, v.impression_id))
        past = [items.rows[news][1] for news in own[0].history.split() if news in items.rows]
        events: list[tuple[int, int, list[int], bool, datetime | None]] = [
            (row, seen, [], False, None) for seen, row in enumerate(past)
        ]
        before_second: dict[datetime, int] = {}
        for view in own:
            seen = before_second.setdefault(view.time, len(events))  # views of one second never see each other
            known = [(*items.rows[news], clicked) for news, clicked in view.news if news in items.rows]
            clicked_rows = [canonical for _, canonical, clicked in known if clicked]
            for target in clicked_rows:
                position = len(events)
                others = [(row, canonical) for row, canonical, c in known if not c and canonical not in clicked_rows]
                drawn = sorted(others, key=lambda other: (draw(seed, position, other[0]), other[0]))
                rows = list(dict.fromkeys(canonical for _, canonical in drawn))[: candidates - 1]
                events.append((target, seen, [target, *rows] if rows else [], True, view.time))
        for number in range(-(-len(events) // window)):
            begin = max(0, len(events) - (number + 1) * window)
            part = events[begin : len(events) - number * window]
            times = [time for _, _, listed, _, time in part if listed and time]
            if times:
                found.append(
                    (
                        user,
                        number,
                        max(times).replace(tzinfo=None),
                        [row for row, *_ in part],
                        [max(0, seen - begin) for _, seen, *_ in part],
                        [listed for _, _, listed, _, _ in part],
                        [float(bool(listed)) for _, _, listed, _, _ in part],
                        [logged for *_, logged, _ in part],
                    )
                )
    return found


def random_views(rng: random.Random) -> tuple[list[View], Items]:
    """Users with unknown news, news of equal text, equal times, and impressions after the split."""
    items = Items({f"n{i}": (i, i if i % 5 else max(1, i - 3)) for i in range(1, 31)})
    views = []
    for number in range(60):
        shown = rng.sample(range(1, 34), rng.randint(1, 7))  # n31 to n33 are unknown
        words = " ".join(f"n{i}" + "*" * (rng.random() < 0.35) for i in shown)
        history = " ".join(f"n{rng.randint(1, 33)}" for _ in range(rng.randint(0, 6)))
        user, hour = f"u{rng.randint(1, 7)}", rng.choice([1, 2, 3, 20, 25, 30, 50])
        views.append(View(f"i{number:02d}", user, hour, history, words, rng.random() < 0.9))
    return views, items


def as_rows(found: list[Row]) -> list[tuple[Any, ...]]:
    utc = [row.asDict() | {"time": row["time"].astimezone(UTC).replace(tzinfo=None)} for row in found]
    return [tuple(row[name] for name in TRAJECTORIES.column_names[1:]) for row in utc]


@pytest.mark.parametrize(("case", "window", "candidates"), [(1, 3, 3), (2, 5, 5), (3, 50, 2)])
def test_random_logs_give_what_the_rules_say_one_click_at_a_time(
    spark: SparkSession, case: int, window: int, candidates: int
) -> None:
    views, items = random_views(random.Random(case))
    options = {"window": window, "candidates": candidates, "seed": case}
    expected = slow(views, items, **options)
    assert as_rows(built(spark, views, items, **options)[0]) == expected
    assert len(expected) > 3


def test_clicks_of_one_impression_do_not_see_each_other(spark: SparkSession) -> None:
    views = [View("a", "u", 0, "n1 n2", "n3* n4* n5"), View("b", "u", 1, "n9 n9 n9", "n6* n7")]
    ((row,), _) = built(spark, views)
    assert row["click_row"] == [1, 2, 3, 4, 6]
    assert row["prefix"] == [0, 1, 2, 2, 4]
    assert row["candidate_row"] == [[], [], [3, 5], [4, 5], [6, 7]]
    assert row["weight"] == [0, 0, 1, 1, 1]
    assert row["logged"] == [False, False, True, True, True]


def test_windows_are_cut_from_the_end_and_one_without_a_target_is_dropped(spark: SparkSession) -> None:
    views = [View("a", "u", 0, "n1 n2 n3 n4", "n5* n9"), View("b", "u", 1, "", "n6* n7* n9")]
    found, _ = built(spark, views, window=2)
    assert [(r["window"], r["click_row"], r["prefix"]) for r in found] == [(0, [6, 7], [0, 0]), (1, [4, 5], [0, 1])]


def test_a_click_without_an_unclicked_neighbour_is_context_only(spark: SparkSession) -> None:
    views = [View("a", "u", 0, "", "n1* n2*"), View("b", "u", 1, "", "n3* n4"), View("c", "v", 1, "n1", "n2*")]
    (row,), _ = built(spark, views)
    assert (row["user_id"], row["click_row"], row["candidate_row"]) == ("u", [1, 2, 3], [[], [], [3, 4]])
    assert row["logged"] == [True, True, True]


def test_news_of_equal_text_stand_under_one_row_and_never_against_each_other(spark: SparkSession) -> None:
    items = Items({"n1": (1, 1), "n2": (2, 1), "n3": (3, 3), "n4": (4, 3)})
    views = [View("a", "u", 0, "n2", "n2* n1 n3 n4"), View("b", "u", 60, "n4", "n2* n4")]
    (row,), (judged,) = built(spark, views, items)
    assert (row["click_row"], row["candidate_row"]) == ([1, 1], [[], [1, 3]])
    assert (judged["history_row"], judged["shown_row"], judged["shown_id"]) == ([3], [1, 3], ["n2", "n4"])


def test_unknown_news_leave_histories_shown_lists_and_clicks(spark: SparkSession) -> None:
    views = [
        View("a", "u", 0, "x n1", "x* n2* y n3"),
        View("b", "u", 60, "y n1 x", "x* n2 y n3*"),
        View("c", "u", 61, "n1", "x* y"),
    ]
    (row,), (judged,) = built(spark, views)
    assert (row["click_row"], row["prefix"], row["candidate_row"]) == ([1, 2], [0, 1], [[], [2, 3]])
    assert (judged["history_row"], judged["shown_row"], judged["clicked"]) == ([1], [2, 3], [False, True])


def test_nothing_after_the_split_changes_a_trajectory(spark: SparkSession) -> None:
    views, items = random_views(random.Random(9))
    later = [view for view in views if view.time.date() >= SPLIT]
    changed = [replace(v, hour=v.hour + 5, history="n1", shown="n2* n3 n4*") if v in later else v for v in views]
    more = [View("new", "u1", 80, "n7 n8", "n1* n2"), View("new", "u2", 90, "", "n1 n2*")]
    before, _ = built(spark, views, items)
    assert later
    assert built(spark, [*changed, *more], items)[0] == before
    assert built(spark, [v for v in views if v not in later], items)[0] == before


def test_replacing_user_ids_changes_nothing_else(spark: SparkSession) -> None:
    views, items = random_views(random.Random(4))
    hashed = [replace(view, user_id=xxhash.xxh64_hexdigest(view.user_id.encode())) for view in views]

    def contents(found: tuple[list[Row], list[Row]]) -> list[list[str]]:
        return [sorted(repr({**r.asDict(), "user_id": ""}) for r in side) for side in found]

    assert contents(built(spark, hashed, items)) == contents(built(spark, views, items))


def test_another_seed_draws_other_negatives_and_the_same_seed_the_same(spark: SparkSession) -> None:
    views = [View(f"i{n}", "u", n, "", "n1* " + " ".join(f"n{i}" for i in range(2, 30))) for n in range(5)]
    first, again, other = (as_rows(built(spark, views, seed=seed)[0]) for seed in (1, 1, 2))
    assert first == again != other
    assert len({tuple(listed[1:]) for listed in first[0][5]}) == 5  # each click draws anew


def write_inputs(spark: SparkSession, lake: Lake, views: list[View]) -> None:
    seen, histories = impressions(spark, views)
    for table, frame in (
        (IMPRESSIONS, seen),
        (HISTORIES, histories.distinct()),
        (ITEM_TOKENS, item_tokens(spark, Items())),
    ):
        lake.overwrite(table, frame)


def test_both_tables_are_written_and_a_second_run_leaves_them_as_they_are(spark: SparkSession, tmp_path: Path) -> None:
    lake, config = Lake(spark, str(tmp_path)), TrajectoryConfig(source="p")
    views = [View("a", "u", 0, "n1", "n2* n3"), View("b", "u", 24, "", "n4* n5 x"), View("c", "v", 50, "", "n4* n5")]
    write_inputs(spark, lake, views)
    summary = build_trajectories(lake, config)
    assert summary == {
        "evaluate_from": "2026-03-04",
        "unknown_news": 1,
        "evaluation_impressions": 1,
        "trajectories": 1,
        "users": 1,
        "clicks": 3,
        "targets": 2,
    }
    versions = [lake.version(table) for table in (TRAJECTORIES, EVALUATION)]
    assert build_trajectories(lake, config) == summary
    assert [lake.version(table) for table in (TRAJECTORIES, EVALUATION)] == versions

    earlier = build_trajectories(lake, replace(config, evaluate_from="2026-03-03"))
    assert (earlier["targets"], earlier["evaluation_impressions"]) == (1, 2)
    with pytest.raises(InputError, match="no impression before 2026-03-02 has a click"):
        build_trajectories(lake, replace(config, evaluate_from="2026-03-02"))
    with pytest.raises(InputError, match="Set an earlier --evaluate-from"):
        build_trajectories(lake, replace(config, evaluate_from="2026-03-09"))
    assert lake.read(EVALUATION).count() == 2  # refused runs wrote nothing


def test_logs_of_one_date_cannot_be_split(spark: SparkSession, tmp_path: Path) -> None:
    lake = Lake(spark, str(tmp_path))
    write_inputs(spark, lake, [View("a", "u", 0, "n1", "n2* n3"), View("b", "u", 1, "n1", "n4* n5")])
    with pytest.raises(InputError, match="Ingest logs of at least two dates"):
        build_trajectories(lake, TrajectoryConfig(source="p"))
    with pytest.raises(InputError, match="source 'other': no impression has click marks"):
        build_trajectories(lake, TrajectoryConfig(source="other"))
    assert not lake.exists(TRAJECTORIES)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"window": 0}, "window is 0: use 1 to 100"), ({"candidates": 1}, "use 2 or more"), ({"seed": 2**63}, "64 bits")],
)
def test_options_out_of_range_are_named(options: dict[str, int], message: str) -> None:
    with pytest.raises(InputError, match=message):
        TrajectoryConfig(**options)
