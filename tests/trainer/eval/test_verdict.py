"""Alarms: each is raised by its case, and none without a reason. Slices: which impressions belong where."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from tests.trainer.eval.impression_sets import evaluation
from trainer.eval.impressions import Impressions
from trainer.eval.verdict import alarms, by_length, figures_of, slices_of, values_of, verdict

FINE: tuple[dict[str, Any], ...] = ({"history_row": [3]}, {"history_row": [4]})


def raised(*rows: dict[str, Any], auc: float = 0.7, oracle: float | None = None) -> list[str]:
    methods = {"model": {"auc": auc}} | ({} if oracle is None else {"oracle": {"auc": oracle}})
    impressions = Impressions.of(evaluation(*(rows or FINE)))
    return alarms(methods, impressions, np.array([False, True, True, True, True]))


def test_there_is_no_alarm_without_a_reason() -> None:
    assert raised() == []
    assert raised(auc=0.95, oracle=0.97) == []


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"auc": 0.515}, "near .5"),
        ({"auc": 0.485}, "near .5"),
        ({"auc": 0.91}, "too good: look for leakage"),
        ({"auc": 0.8, "oracle": 0.79}, "above the oracle's"),
    ],
)
def test_a_doubtful_figure_is_said(given: dict[str, Any], words: str) -> None:
    (sentence,) = raised(**given)
    assert words in sentence


def test_clicks_in_their_own_history_are_a_leak_and_others_histories_are_not() -> None:
    assert raised({"history_row": [2]}, {"history_row": [3]}) == []
    (sentence,) = raised({"history_row": [3, 1]}, {"history_row": [2]})
    assert "50.0% of the clicked news are in the history" in sentence


def test_many_news_without_tokens_are_an_alarm_and_a_few_are_not() -> None:
    (sentence,) = raised({"shown_row": [1, 0]}, {})
    assert "25.0% of the news shown have no tokens" in sentence
    assert "Add their text with ./feedloop prepare_news" in sentence
    assert raised({"shown_row": [1, 0]}, *[{}] * 60) == []


def test_every_alarm_says_what_to_do() -> None:
    leak: dict[str, Any] = {"history_row": [3, 1], "shown_row": [1, 0]}
    for auc in (0.5, 0.95):
        sentences = raised(leak, {}, auc=auc) + raised(auc=0.8, oracle=0.79)
        assert len(sentences) == 4
        assert all(re.search(r"[Ll]ook for|Train |Add ", sentence) for sentence in sentences)


def test_impressions_of_one_class_are_left_out_and_no_alarm() -> None:
    table = evaluation({}, {}, {"clicked": [True, True]}, {"clicked": [False, False]}, {"history_row": [3]})
    scores = {"model": np.tile([1.0, 0.5], 5)}
    values = values_of(scores, Impressions.of(table))
    found = verdict(table, values, trained_V=np.ones(5, np.bool_), has_tokens_V=np.ones(5, np.bool_))
    assert not any("class" in alarm for alarm in found["alarms"])
    assert any(left.startswith("2 impressions (40.0%) of one class: all or none") for left in found["left_out"])


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
