from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from pipelines.trajectories.config import TrajectoryConfig
from schemas.errors import InputError


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"window": 0}, "window is 0: use 1 to 100"),
        ({"candidates": 1}, "use 2 or more"),
        ({"targets": "some"}, "targets is 'some': use logged or all"),
        ({"history_weight": 0.0}, "history_weight is 0.0: use more than 0, or targets = logged"),
        ({"history_weight": float("nan")}, "history_weight is nan"),
        ({"negatives": "some"}, "negatives is 'some': use auto, shown or drawn"),
        ({"drawn_candidates": 0}, "drawn_candidates is 0: use 1 to 1000 news"),
        ({"evaluate_share": 1.0}, "evaluate_share is 1.0: use more than 0 and less than 1"),
        ({"evaluate_share": 0.2, "to": "2026-03-02"}, "evaluate_share and to both set the start of the evaluation"),
        ({"evaluate_share": 0.2, "evaluate_from": "2026-03-02"}, "evaluate_share and evaluate_from both set"),
        ({"seed": 2**63}, "64 bits"),
        ({"evaluate_sample": 0.0}, "evaluate_sample is 0.0: use more than 0 and at most 1"),
        ({"evaluate_sample": 1.1}, "evaluate_sample is 1.1: use more than 0 and at most 1"),
        ({"evaluate_sample": float("nan")}, "evaluate_sample is nan: use more than 0"),
        ({"max_evaluated_per_user": 0}, "max_evaluated_per_user is 0: use 1 or more, or leave it out"),
        ({"max_windows_per_user": -1}, "max_windows_per_user is -1: use 1 or more"),
        ({"bot_views_per_day": 0}, "bot_views_per_day is 0: use 1 or more"),
        ({"bot_clicks_per_day": -5}, "bot_clicks_per_day is -5: use 1 or more"),
        ({"from_": "yesterday"}, "from is 'yesterday': write a UTC date or time such as 2026-03-02"),
        ({"to": "2026-03-32"}, "to is '2026-03-32': write a UTC date"),
        ({"from_": "2026-03-02", "to": "2026-03-02"}, "Set a later to"),
        ({"from_": "2026-03-02T01:00:00+01:00", "to": "2026-03-02"}, "the period is empty"),
    ],
)
def test_options_out_of_range_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        TrajectoryConfig(**options)


def test_a_period_is_given_as_dates_or_times_of_utc_or_another_zone() -> None:
    config = TrajectoryConfig(from_="2026-03-02", to="2026-03-02T03:30:00+02:00")
    assert config.begin == datetime(2026, 3, 2, tzinfo=UTC)
    assert config.end == datetime(2026, 3, 2, 1, 30, tzinfo=UTC)
    assert (TrajectoryConfig().begin, TrajectoryConfig().end) == (None, None)
