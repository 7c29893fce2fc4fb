"""The same log gives the same rows on every engine, bit for bit."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pytest
from pyspark.sql import SparkSession

from pipelines.engine.scratch import scratch
from pipelines.trajectories.config import TrajectoryConfig
from pipelines.trajectories.evaluate_from import start_of
from pipelines.trajectories.flow import make_split
from pipelines.trajectories.sampled_negatives import popularity_cells
from pipelines.trajectories.split import with_split
from tests.pipelines.trajectories.test_flow import random_logs
from tests.pipelines.trajectories.views import SPLIT, built, impressions
from tests.same_bits import digest

SAMPLED = {"evaluate_sample": 0.8, "max_evaluated_per_user": 2, "max_windows_per_user": 2, "window": 3}
SAMPLED |= {"bot_views_per_day": 5, "bot_clicks_per_day": 9}


@pytest.mark.parametrize(
    ("options", "trained", "evaluated"),
    [
        ({"variants": 2}, "8ae9e72101f05b85", "d2f44dc9e26337c8"),
        ({"targets": "all", "window": 4, "unlabelled": True}, "9eaea5be2a845bd2", "94281544248e48dd"),
        ({"negatives": "drawn", "targets": "all", "drawn_candidates": 5}, "7a1acbf86767f3fb", "b408fac0599a71da"),
        (SAMPLED | {"unlabelled": True}, "040c1bdeac40c8fb", "72e6a26e0a278fb4"),
        (SAMPLED | {"negatives": "drawn", "drawn_candidates": 5}, "9e16e9fa4fe466ec", "bc8d06db7627ba3b"),
    ],
    ids=["shown", "all", "drawn", "shown, by sample", "drawn, by sample"],
)
def test_every_engine_builds_the_same(
    spark: SparkSession, options: dict[str, Any], trained: str, evaluated: str
) -> None:
    views, items = random_logs(11, cases=30)
    made, kept = built(spark, views, items, seed=3, **options)
    assert len(made) > 20 < len(kept)
    assert (digest(made), digest(kept)) == (trained, evaluated)


def test_every_engine_draws_from_the_same_line(spark: SparkSession) -> None:
    clicks = spark.createDataFrame([(row, row**2 % 997 + 1) for row in range(1, 2000)], "row int, clicks long")
    line = popularity_cells(clicks, taken=24, seed=5)
    assert hashlib.sha256(line.astype(np.int32).tobytes()).hexdigest()[:16] == "f7e969e25f643134"


def test_impressions_have_numbers_of_their_own_however_they_are_cut(spark: SparkSession) -> None:
    views, _ = random_logs(12, cases=20)
    seen, histories = impressions(spark, views)
    split = make_split(TrajectoryConfig(source="p"), start_of(SPLIT))
    numbers = []
    for parts in (1, 7):
        with scratch() as keep:
            found = keep(with_split(seen.repartition(parts), histories.repartition(parts), split)).collect()
        numbers.append({(row["user_id"], row["impression_id"], row["time"]): row["view"] for row in found})
    assert numbers[0] == numbers[1]
    assert len(set(numbers[0].values())) == len(numbers[0]) > 100
