from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import Row, SparkSession

from pipelines.lake.tables import Lake
from pipelines.trajectories.config import TrajectoryConfig
from pipelines.trajectories.flow import build_trajectories
from schemas.errors import InputError
from schemas.trajectory import EVALUATION, TRAJECTORIES
from tests.pipelines.trajectories.test_flow import random_logs, write_inputs
from tests.pipelines.trajectories.views import AFTER_SPLIT, View, built

NEGATIVES: dict[str, dict[str, Any]] = {
    "shown": {"unlabelled": True, "window": 3},
    "drawn": {"negatives": "drawn", "drawn_candidates": 5, "window": 3},
}
LOG = random_logs(21, cases=40)


def random_fraction(row: Row) -> float:
    """The first 52 bits of the MD5 of source, impression id and microseconds."""
    since = row["time"].astimezone(UTC) - datetime(1970, 1, 1, tzinfo=UTC)
    texts = (row["source"], row["impression_id"], str(since // timedelta(microseconds=1)))
    return int(hashlib.md5("\x01".join(texts).encode()).hexdigest()[:13], 16) / 2**52


def kept(rows: Sequence[Row], share: float, most: int | None) -> list[Row]:
    """What is left of a complete evaluation, one impression after the other."""
    left, counts = list[Row](), Counter[str]()
    for row in sorted(rows, key=random_fraction):
        if row["clicked"] is None:
            left.append(row)
        elif random_fraction(row) < share and (most is None or counts[row["user_id"]] < most):
            counts[row["user_id"]] += 1
            left.append(row)
    return sorted(left, key=lambda row: (row["impression_id"], row["user_id"]))


@pytest.mark.parametrize("negatives", NEGATIVES)
def test_a_sample_holds_the_rows_of_the_complete_evaluation_with_small_fractions(
    spark: SparkSession, negatives: str
) -> None:
    trained, complete = built(spark, *LOG, **NEGATIVES[negatives])
    sizes = [len(complete)]
    for share, most in ((0.5, None), (0.2, None), (1.0, 1), (0.7, 2)):
        options = NEGATIVES[negatives] | {"evaluate_sample": share, "max_evaluated_per_user": most}
        made, evaluated = built(spark, *LOG, **options)
        assert evaluated == kept(complete, share, most)
        assert made == trained
        sizes.append(len(evaluated))
    assert sizes[0] > 60
    assert all(5 < size < sizes[0] for size in sizes[1:])


@pytest.mark.parametrize("options", [{"variants": 2}, {"targets": "all"}, {"negatives": "drawn"}], ids=str)
def test_a_user_has_no_more_trajectories_than_the_latest_windows(spark: SparkSession, options: dict[str, Any]) -> None:
    complete, evaluated = built(spark, *LOG, window=2, **options)
    made, same = built(spark, *LOG, window=2, max_windows_per_user=2, **options)

    def in_order(rows: Sequence[Row]) -> list[Row]:
        return sorted(rows, key=repr)

    assert in_order(made) == in_order([row for row in complete if row["window"] < 2])
    assert 20 < len(made) < len(complete)
    assert same == evaluated


def bots_of(views: Sequence[View], *, views_per_day: int | None, clicks_per_day: int | None) -> set[str]:
    """Users above a rate, counted by hand."""
    seen, clicks = Counter[Any](), Counter[Any]()
    for view in views:
        seen[view.user_id, view.time.date()] += 1
        clicks[view.user_id, view.time.date()] += sum(clicked for _, clicked in view.news if view.labelled)
    limits = ((seen, views_per_day), (clicks, clicks_per_day))
    return {user for counts, most in limits for (user, _), count in counts.items() if most is not None and count > most}


@pytest.mark.parametrize("rates", [(3, None), (None, 4), (4, 5)], ids=str)
@pytest.mark.parametrize("negatives", NEGATIVES)
def test_bots_are_left_out_as_if_they_had_never_been(
    spark: SparkSession, negatives: str, rates: tuple[int | None, int | None]
) -> None:
    views, items = LOG
    bots = bots_of(views, views_per_day=rates[0], clicks_per_day=rates[1])
    others = [view for view in views if view.user_id not in bots]
    assert 10 < len(bots) < len({view.user_id for view in others})
    options = NEGATIVES[negatives] | {"bot_views_per_day": rates[0], "bot_clicks_per_day": rates[1]}
    assert built(spark, *LOG, **options) == built(spark, others, items, **NEGATIVES[negatives])


VIEWS = [
    *(View(f"a{n}", "bot", n / 100, "", "n1 n2*") for n in range(8)),
    *(View(f"b{n}", "u", 12 * n, "n1", "n2* n3") for n in range(3)),
    *(View(f"c{n}", "v", AFTER_SPLIT + n, "n1", "n2* n3") for n in range(6)),
]


def test_the_run_says_what_was_left_out_and_names_nobody(spark: SparkSession, tmp_path: Path) -> None:
    lake = Lake(spark, str(tmp_path))
    write_inputs(spark, lake, VIEWS)
    config = TrajectoryConfig(
        source="p", bot_views_per_day=6, evaluate_sample=0.9, max_evaluated_per_user=3, max_windows_per_user=1
    )
    made = build_trajectories(lake, config)
    summary = made.summary
    assert (summary["bot_users"], summary["bot_impressions"], summary["users"]) == (1, 8, 1)
    assert {name: summary[name] for name in config.samples} == config.samples
    assert summary["evaluation_impressions"] == lake.read(EVALUATION).count() == 3
    note = lake.notes(EVALUATION)["made_from.p"]
    assert "bot" in note
    assert '"bot"' not in note
    assert build_trajectories(lake, config) == made
    assert lake.read(TRAJECTORIES).where("user_id = 'bot'").isEmpty()


def test_a_table_from_before_there_were_samples_stands(spark: SparkSession, tmp_path: Path) -> None:
    lake, config = Lake(spark, str(tmp_path)), TrajectoryConfig(source="p")
    write_inputs(spark, lake, VIEWS)
    made = build_trajectories(lake, config)
    noted = json.loads(lake.notes(EVALUATION)["made_from.p"])["config"]
    assert not {"evaluate_sample", "bot_views_per_day", "max_windows_per_user"} & noted.keys()
    assert "bot_users" not in made.summary
    assert build_trajectories(lake, config).outputs == made.outputs
    other = build_trajectories(lake, TrajectoryConfig(source="p", max_evaluated_per_user=1))
    assert other.outputs["evaluation"] > made.outputs["evaluation"]


def test_where_nothing_is_left_the_run_says_so_and_writes_nothing(spark: SparkSession, tmp_path: Path) -> None:
    lake = Lake(spark, str(tmp_path))
    write_inputs(spark, lake, VIEWS)
    with pytest.raises(InputError, match=r"with --bot-views-per-day 1 all 3 users are bots. Set it higher"):
        build_trajectories(lake, TrajectoryConfig(source="p", bot_views_per_day=1, bot_clicks_per_day=None))
    with pytest.raises(InputError, match=r"--evaluate-sample 1e-09 leaves no impression"):
        build_trajectories(lake, TrajectoryConfig(source="p", evaluate_sample=1e-9))
    assert not lake.exists(EVALUATION)
