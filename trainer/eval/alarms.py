"""Writes alarms: sentences on what makes the figures of an evaluation doubtful and what to do about it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from trainer.eval.impressions import Impressions
from trainer.eval.metrics import BoolArray

_NEAR_CHANCE = 0.02
_TOO_GOOD = 0.9
_WITHOUT_TOKENS = 0.01  # most logs have a few news without text
_CLICKED_AGAIN = 0.05  # some clicks repeat an earlier one: .006 of the clicks of MIND


def alarms(methods: Mapping[str, Mapping[str, Any]], impressions: Impressions, has_tokens_V: BoolArray) -> list[str]:
    """The alarms as sentences; none where nothing is doubtful."""
    again = _clicked_again(impressions)
    without_tokens = 1 - has_tokens_V[impressions.shown_X].mean()
    auc = methods["model"]["auc"]
    oracle = methods["oracle"]["auc"] if "oracle" in methods else None
    found = {
        f"AUC {auc:.3f} is near .5: the model has learnt next to nothing. Train for more epochs, or at other learning "
        "rates": abs(auc - 0.5) < _NEAR_CHANCE,
        f"AUC {auc:.3f} is too good: look for leakage": oracle is None and auc > _TOO_GOOD,
        "the model's AUC is above the oracle's: look for leakage": oracle is not None and auc > oracle,
        f"{again:.1%} of the clicked news are in the history of their own impression: look for leakage, since a "
        "history must end before its impression": again > _CLICKED_AGAIN,
        f"{without_tokens:.1%} of the news shown have no tokens, so the model cannot distinguish them. Add their text "
        "with ./feedloop prepare_news, then build the trajectories and pack again": without_tokens > _WITHOUT_TOKENS,
    }
    return [sentence for sentence, holds in found.items() if holds]


def _clicked_again(impressions: Impressions) -> float:
    """Share of the clicked entries whose item is in the impression's own history."""
    items = 1 + int(max(impressions.history_Y.max(initial=0), impressions.shown_X.max(initial=0)))
    of_Y = np.repeat(np.arange(impressions.size), np.diff(impressions.history_start_I1))
    clicked_X = impressions.clicked_X
    read = of_Y * items + impressions.history_Y
    clicks = impressions.impression_X[clicked_X] * items + impressions.shown_X[clicked_X]
    return float(np.isin(clicks, read).mean()) if len(clicks) else 0.0
