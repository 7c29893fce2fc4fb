"""Baselines: recency and category match by hand; zero-shot is tested in test_trainer, one impression at a time."""

from __future__ import annotations

import numpy as np
import pytest

from tests.trainer.eval.impression_sets import evaluation
from trainer.eval.baselines import category_scores, popularity_scores, recency_scores, recent_scores
from trainer.eval.catalogue import Catalogue
from trainer.eval.impressions import Impressions


def catalogue(*kinds: tuple[str, str]) -> Catalogue:
    """Item rows from 1 on, by (category, subcategory)."""
    texts = [("", ""), *kinds]
    ids = [f"n{row}" if row else "" for row in range(len(texts))]
    return Catalogue(
        source="p",
        news_id_V=np.array(ids, object),
        category_V=np.array([category for category, _ in texts], object),
        subcategory_V=np.array([subcategory for _, subcategory in texts], object),
        title_V=np.array([f"title {row}" if row else "" for row in range(len(texts))], object),
        canonical_row_V=np.arange(len(texts)),
    )


def test_category_match_counts_the_history_alike() -> None:
    kinds = catalogue(("sport", "golf"), ("sport", "tennis"), ("news", ""), ("", ""))
    table = evaluation(
        {"history_row": [1, 1, 2, 3], "shown_row": [1, 2, 3, 4]},
        {"history_row": [], "shown_row": [1, 2]},
        {"history_row": [3, 4], "shown_row": [3, 1]},
    )
    found = category_scores(kinds, Impressions.of(table))
    assert found.tolist() == pytest.approx([3 / 4 + 2 / 4, 3 / 4 + 1 / 4, 1 / 4, 0, 0, 0, 1 / 2, 0])


def test_no_history_at_all_matches_nothing() -> None:
    assert category_scores(catalogue(("a", "b"), ("a", "c")), Impressions.of(evaluation({}))).tolist() == [0, 0]


def test_the_newest_comes_first_and_old_directories_have_no_ages() -> None:
    rows = ({"shown_age_hours": [2.0, 0.5]}, {"shown_age_hours": [1.0, 3.0]})
    found = recency_scores(evaluation(*rows))
    assert found is not None
    assert found.tolist() == [-2.0, -0.5, -1.0, -3.0]
    assert recency_scores(evaluation(*rows, without=("shown_age_hours",))) is None
    assert recency_scores(evaluation({"shown_age_hours": None})) is None


def test_popularity_is_how_often_an_item_was_clicked() -> None:
    impressions = Impressions.of(evaluation({"shown_row": [2, 1, 2]}))
    assert popularity_scores(np.array([0, 5, 9]), impressions).tolist() == [9, 5, 9]


def test_the_last_day_is_scored_by_clicks_and_by_clicks_per_showing() -> None:
    rows = (
        {"shown_row": [1, 2, 3], "recent_shown": [100, 1, 0], "recent_clicks": [30, 1, 0]},
        {"shown_row": [1, 2], "recent_shown": [99, 0], "recent_clicks": [19, 0]},
    )
    found = recent_scores(evaluation(*rows))
    assert found["recent_clicks"].tolist() == [30, 1, 0, 19, 0]
    mean = 50 / 200
    wanted = [(clicks + 10 * mean) / (shown + 10) for shown, clicks in ((100, 30), (1, 1), (0, 0), (99, 19), (0, 0))]
    assert found["recent_rate"].tolist() == pytest.approx(wanted)
    assert found["recent_rate"][2] == pytest.approx(mean)  # never shown: scored as the mean
    assert recent_scores(evaluation(*rows, without=("recent_shown",))) == {}
    assert recent_scores(evaluation({"recent_shown": None})) == {}
    nobody = recent_scores(evaluation({"recent_shown": [0, 0], "recent_clicks": [0, 0]}))
    assert nobody["recent_rate"].tolist() == [0, 0]
