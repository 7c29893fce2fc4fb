"""Intervals: the bootstrap against its definition, against normal theory, and in pairs."""

from __future__ import annotations

import numpy as np
import pytest

from trainer.eval import intervals
from trainer.eval.intervals import compared, interval, resampled_means
from trainer.eval.metrics import METRICS


def test_means_are_those_of_impressions_resampled() -> None:
    value = np.random.default_rng(0).normal(size=(13, 2))
    found = resampled_means(value, resamples=50, seed=3)
    draw = np.random.default_rng(3).integers(0, 13, (50, 13))
    assert found == pytest.approx(np.stack([value[drawn].mean(0) for drawn in draw]), abs=1e-12)


def test_blocks_bound_memory_and_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    value = np.random.default_rng(0).normal(size=(13, 2))
    in_one_block = resampled_means(value, resamples=50)
    monkeypatch.setattr(intervals, "_DRAWS_AT_ONCE", 40)
    assert resampled_means(value, resamples=50) == pytest.approx(in_one_block, abs=1e-12)


def test_an_interval_is_as_wide_as_normal_theory_says() -> None:
    value = np.random.default_rng(1).normal(size=(4000, 1))
    (low,), (high,) = interval(resampled_means(value))
    half = 1.96 * value.std() / np.sqrt(len(value))
    assert [low, high] == pytest.approx([value.mean() - half, value.mean() + half], abs=0.15 * half)


def test_pairs_see_what_intervals_side_by_side_hide() -> None:
    """Impressions differ much, and the two methods by little but always."""
    rng = np.random.default_rng(2)
    hard = rng.random((300, len(METRICS))) * 0.5
    values = {"model": hard + 0.01 + rng.normal(size=hard.shape) * 0.001, "zero_shot": hard}
    methods, paired = compared(values)
    assert methods["model"]["low"]["auc"] < methods["zero_shot"]["auc"] < methods["model"]["high"]["auc"]
    less = paired["zero_shot"]["auc"]
    assert 0 < less["low"] < less["mean"] < less["high"]
    assert less["mean"] == pytest.approx(methods["model"]["auc"] - methods["zero_shot"]["auc"], abs=1e-12)
    assert list(paired) == ["zero_shot"]
    assert compared(values) == (methods, paired)
