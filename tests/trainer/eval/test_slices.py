"""Slices: which impressions belong where, and the figures of each part."""

from __future__ import annotations

import numpy as np
import pytest

from tests.trainer.eval.impression_sets import evaluation
from trainer.eval.impressions import Impressions
from trainer.eval.slices import by_length, figures_of, slices_of


def test_every_length_of_history_has_one_slice() -> None:
    length = np.array([0, 1, 5, 6, 20, 21, 50, 51, 900])
    slices = by_length(length)
    assert {name: length[inside].tolist() for name, inside in slices.items()} == {
        "0": [0],
        "1-5": [1, 5],
        "6-20": [6, 20],
        "21-50": [21, 50],
        ">50": [51, 900],
    }


def test_new_news_are_clicked_ones_that_no_batch_held() -> None:
    table = evaluation(
        {"shown_row": [1, 2]},
        {"shown_row": [3, 1]},  # the clicked one is new
        {"shown_row": [1, 3]},  # a new one was shown, and not clicked
    )
    trained_V = np.array([False, True, True, False])
    slices = slices_of(Impressions.of(table), trained_V, np.array([True, False, False]))
    assert slices["new news"]["new"].tolist() == [False, True, False]
    assert slices["new news"]["known"].tolist() == [True, False, True]
    assert slices["new users"]["new"].tolist() == [True, False, False]
    assert slices_of(Impressions.of(table), trained_V, None)["new users"] == {}


def test_a_slice_has_the_means_of_its_evaluated_impressions() -> None:
    value_IM = np.array([[0.2, 0.1, 0.0, 0.4], [0.6, 0.3, 0.0, 0.8], [np.nan] * 4, [1.0, 1.0, 1.0, 1.0]])
    slices = {"a": np.array([1, 1, 1, 0], np.bool_), "b": np.array([0, 0, 1, 0], np.bool_)}
    (figures,) = figures_of(value_IM, slices)
    assert (figures["slice"], figures["impressions"]) == ("a", 2)
    assert [figures[name] for name in ("auc", "mrr", "ndcg10")] == pytest.approx([0.4, 0.2, 0.6])
    assert (figures["auc_low"], figures["auc_high"]) == pytest.approx((0.2, 0.6))
