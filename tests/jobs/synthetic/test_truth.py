from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from jobs.synthetic.truth import impression_auc


def slow_auc(scores: list[float], clicked: list[bool]) -> float:
    """Every pair of a clicked and an unclicked news, one by one."""
    pairs = [
        (s, t) for s, c in zip(scores, clicked, strict=True) if c for t, d in zip(scores, clicked, strict=True) if not d
    ]
    return sum(1.0 if s > t else 0.5 if s == t else 0.0 for s, t in pairs) / len(pairs) if pairs else math.nan


def test_auc_counts_ties_half_and_skips_impressions_of_one_class() -> None:
    score = np.array([0.9, 0.1, 0.5, 0.5, 0.2, 0.3, 0.7])
    clicked = np.array([True, False, True, False, False, False, True])
    auc = impression_auc(score, clicked, np.array([0, 2, 4, 6, 7]))
    np.testing.assert_equal(auc, [1.0, 0.5, np.nan, np.nan])


def test_auc_equals_counting_pairs_one_by_one() -> None:
    rng = np.random.default_rng(3)
    start = np.concatenate([[0], np.cumsum(rng.integers(1, 20, 200))])
    score, clicked = rng.integers(0, 6, start[-1]) / 6, rng.random(start[-1]) < 0.2
    spans = list(pairwise(start))
    expected = [slow_auc(score[a:b].tolist(), clicked[a:b].tolist()) for a, b in spans]
    np.testing.assert_allclose(impression_auc(score, clicked, start), expected)


@pytest.mark.parametrize("name", ["tiny", "demo"])
def test_the_oracle_reaches_between_80_and_90_and_its_figure_is_right(
    name: str, request: pytest.FixtureRequest
) -> None:
    sample: Any = request.getfixturevalue(name)
    aucs = [slow_auc(row["probability"], row["clicked"]) for row in sample.truth]
    last = [auc for auc, row in zip(aucs, sample.truth, strict=True) if row["time"].strftime("%d") == "07"]
    assert sample.counts["oracle_auc"] == pytest.approx(np.nanmean(aucs), abs=1e-6)
    assert sample.counts["oracle_auc_last_day"] == pytest.approx(np.nanmean(last), abs=1e-6)
    assert 0.80 < sample.counts["oracle_auc"] < 0.90
    if name == "demo":  # a tiny last day has some 60 clicked impressions: its AUC has a standard error of .02
        assert 0.80 < sample.counts["oracle_auc_last_day"] < 0.90


def test_clicks_come_as_often_as_their_probabilities_say(demo: Any) -> None:
    probability = np.concatenate([row["probability"] for row in demo.truth])
    clicked = np.concatenate([row["clicked"] for row in demo.truth])
    bins = np.digitize(probability, [0.01, 0.02, 0.1, 0.3])
    for place in range(5):
        chosen = bins == place
        spread = math.sqrt((probability[chosen] * (1 - probability[chosen])).sum())
        assert abs(clicked[chosen].sum() - probability[chosen].sum()) < 4 * spread


def test_interest_dominates_popularity_does_not(demo: Any) -> None:
    """On the last day: the share of a user's earlier clicks in a news' subcategory, compared with training clicks."""
    topic = {news["news_id"]: news["subcategory"] for news in demo.news}
    click_count: dict[str, int] = {}
    history: dict[str, list[str]] = {}
    by_interest, by_count = [], []
    for row in demo.truth:
        clicked = [n for n, mark in zip(row["shown"], row["clicked"], strict=True) if mark]
        if row["time"].strftime("%d") == "07":
            topics = [topic[n] for n in history.get(row["user_id"], [])]
            by_interest.append(slow_auc([topics.count(topic[n]) for n in row["shown"]], row["clicked"]))
            by_count.append(slow_auc([click_count.get(n, 0) for n in row["shown"]], row["clicked"]))
        else:
            for news in clicked:
                click_count[news] = click_count.get(news, 0) + 1
        history.setdefault(row["user_id"], []).extend(clicked)  # logged clicks only: the true history is longer
    assert np.nanmean(by_interest) > np.nanmean(by_count) + 0.1
    assert 0.5 < np.nanmean(by_count) < 0.62
