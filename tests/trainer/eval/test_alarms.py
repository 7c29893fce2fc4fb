"""Alarms: each by the case that must raise it, and silence where all is well."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.trainer.eval.impression_sets import evaluation
from trainer.eval.alarms import alarms
from trainer.eval.impressions import Impressions

FINE: tuple[dict[str, Any], ...] = ({"history_row": [3]}, {"history_row": [4]})


def raised(
    *rows: dict[str, Any], auc: float = 0.7, oracle: float | None = None, judged: tuple[int, ...] = (1, 1)
) -> list[str]:
    methods = {"model": {"auc": auc}} | ({} if oracle is None else {"oracle": {"auc": oracle}})
    impressions = Impressions.of(evaluation(*(rows or FINE)))
    return alarms(methods, impressions, np.array(judged, np.bool_), np.array([False, True, True, True, True]))


def test_nothing_is_said_where_all_is_well() -> None:
    assert raised() == []
    assert raised(auc=0.95, oracle=0.97) == []


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"auc": 0.515}, "near .5"),
        ({"auc": 0.485}, "near .5"),
        ({"auc": 0.91}, "too good: look for leakage"),
        ({"auc": 0.8, "oracle": 0.79}, "above the oracle's"),
        ({"judged": (1, 0)}, "50.0% of the impressions are of one class"),
    ],
)
def test_a_doubtful_figure_is_said(given: dict[str, Any], words: str) -> None:
    (sentence,) = raised(**given)
    assert words in sentence


def test_clicks_that_stand_in_their_own_history_are_a_leak_and_others_histories_are_not() -> None:
    assert raised({"history_row": [2]}, {"history_row": [3]}) == []
    (sentence,) = raised({"history_row": [3, 1]}, {"history_row": [2]})
    assert "50.0% of the clicked news stand in the history" in sentence


def test_news_without_tokens_are_counted() -> None:
    (sentence,) = raised({"shown_row": [1, 0]}, {})
    assert "25.0% of the news shown have no tokens" in sentence
