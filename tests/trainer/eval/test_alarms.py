"""Alarms: each is raised by its case, and none without a reason."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from tests.trainer.eval.impression_sets import evaluation
from trainer.eval.alarms import alarms
from trainer.eval.impressions import Impressions
from trainer.eval.verdict import values_of, verdict

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
