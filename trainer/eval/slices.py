"""Computes the model's figures for slices of the impressions, by history length, new news and new users."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from trainer.eval.impressions import Impressions
from trainer.eval.intervals import interval, resampled_means
from trainer.eval.metrics import METRICS, BoolArray, FloatArray, IntArray

_LENGTHS = {"0": (0, 0), "1-5": (1, 5), "6-20": (6, 20), "21-50": (21, 50), ">50": (51, None)}  # clicks, inclusive


def slices_of(impressions: Impressions, trained_V: BoolArray, new_user_I: BoolArray | None) -> dict[str, Any]:
    """Name of each slicing -> name of each slice -> mask (I,) of its impressions.

    `trained_V`: whether an item is in any training batch. `new_user_I`: None where it is unknown.
    """
    clicked = impressions.clicked_X & ~trained_V[impressions.shown_X]
    new_news_I = np.bincount(impressions.impression_X, clicked, minlength=impressions.size) > 0
    slices = {"history length": by_length(np.diff(impressions.history_start_I1)), "new news": _new(new_news_I)}
    return slices | {"new users": {} if new_user_I is None else _new(new_user_I)}


def by_length(length_I: IntArray) -> dict[str, BoolArray]:
    """Masks of the histories in each range of lengths."""
    return {
        name: (length_I >= least) & (length_I <= (most if most is not None else length_I))
        for name, (least, most) in _LENGTHS.items()
    }


def _new(new_I: BoolArray) -> dict[str, BoolArray]:
    return {"new": new_I, "known": ~new_I}


def figures_of(value_IM: FloatArray, slices: Mapping[str, BoolArray]) -> list[dict[str, Any]]:
    """Count, AUC with its interval, MRR and nDCG@10 of each slice that has an evaluated impression."""
    evaluated_I = ~np.isnan(value_IM[:, 0])
    return [
        {"slice": name, **_figures(value_IM[inside_I & evaluated_I])}
        for name, inside_I in slices.items()
        if (inside_I & evaluated_I).any()
    ]


def _figures(value_IM: FloatArray) -> dict[str, Any]:
    mean = dict(zip(METRICS, value_IM.mean(0).tolist(), strict=True))
    (low,), (high,) = interval(resampled_means(value_IM[:, :1]))
    means = {name: mean[name] for name in ("auc", "mrr", "ndcg10")}
    return {"impressions": len(value_IM), **means, "auc_low": float(low), "auc_high": float(high)}
