from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from pyspark.sql import SparkSession

from pipelines.trajectories.checks import count_and_check
from pipelines.trajectories.config import TrajectoryConfig
from pipelines.trajectories.evaluate_from import EvaluationBegin
from tests.pipelines.trajectories.views import START

KNOWN = (
    "evaluated boolean, in_sample boolean, user_id string, time timestamp, click_row array<int>, "
    "negative_row array<int>, history_row array<int>, shown_row array<int>, clicked array<boolean>, unknown int"
)


@pytest.mark.parametrize("negatives", ["shown", "drawn"])
@pytest.mark.parametrize("targets", ["logged", "all"])
@pytest.mark.parametrize("begin", [None, "2026-03-02"])
def test_both_sides_are_counted_by_every_choice(
    spark: SparkSession, negatives: Any, targets: Any, begin: str | None
) -> None:
    """Every engine counts, also where two counts are the same column."""
    rows = [
        (False, "u1", START, [1], [2], [], [1, 2], [True, False], 1),
        (False, "u2", START, [3], [], [4], [3], [True], 0),
        (False, "u3", START, [], [], [], [3], [False], 2),
        (True, "u1", START, [1], [2], [], [1, 2], [True, False], 0),
        (True, "u1", START, [], [], [], [1], None, 0),
    ]
    config = TrajectoryConfig(negatives=negatives, targets=targets, from_=begin)
    counts = count_and_check(
        spark.createDataFrame([(side, side, *rest) for side, *rest in rows], KNOWN),
        EvaluationBegin(START + timedelta(1), "last_date"),
        config,
    )
    assert counts == {"unknown_news": 3, "evaluation_impressions": 1, "unlabelled_impressions": 1}
