"""Summarises the metrics of the labelled impressions: means, intervals, slices and alarms in one dictionary."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from schemas.errors import InputError
from trainer.data.evaluation import labelled
from trainer.eval.baselines import BUILD_AGAIN
from trainer.eval.impressions import Impressions, dates
from trainer.eval.intervals import compared, interval, resampled_means
from trainer.eval.metrics import METRICS, BoolArray, FloatArray, IntArray, metrics_per_impression

_NEAR_CHANCE = 0.02
_TOO_GOOD = 0.9
_WITHOUT_TOKENS = 0.01  # most logs have a few news without text
_CLICKED_AGAIN = 0.05  # some clicks repeat an earlier one: .006 of the clicks of MIND
_LENGTHS = {"0": (0, 0), "1-5": (1, 5), "6-20": (6, 20), "21-50": (21, 50), ">50": (51, None)}  # clicks, inclusive


def values_of(scores: Mapping[str, FloatArray], impressions: Impressions) -> dict[str, FloatArray]:
    """Each method's metrics per impression (I, M). InputError if no impression has an order to evaluate."""
    values = {
        name: metrics_per_impression(score_X, impressions.clicked_X, impressions.shown_start_I1)
        for name, score_X in scores.items()
    }
    if "model" in values and np.isnan(values["model"][:, 0]).all():
        raise InputError(
            "no evaluation impression holds both a click and an unclicked news, so there is no order to evaluate. "
            "Run ./feedloop build_trajectories with an earlier --evaluate-from, then ./feedloop pack"
        )
    return values


def verdict(
    evaluation: pa.Table, values: Mapping[str, FloatArray], *, trained_V: BoolArray, has_tokens_V: BoolArray
) -> dict[str, Any]:
    """The part of the summary on labelled impressions, except recall.

    `values`: metrics per impression by method; `trained_V`: whether an item is in a training batch.
    """
    if not values:
        return _without_labels()
    table, impressions = labelled(evaluation), Impressions.of(evaluation)
    evaluated_I = ~np.isnan(values["model"][:, 0])
    methods, paired = compared({name: value_IM[evaluated_I] for name, value_IM in values.items()})
    known = "new_user" in table.column_names and not table["new_user"].null_count
    new_user_I = table["new_user"].to_numpy().astype(np.bool_) if known else None
    unknown = f"slices by new users: the packed directory does not say which users are new; {BUILD_AGAIN}"
    day_I = dates(table)
    return {
        "split": {"first": str(day_I.min()), "last": str(day_I.max())},
        "negatives": negatives_of(table),
        "impressions": int(evaluated_I.sum()),
        "skipped": int((~evaluated_I).sum()),
        "methods": methods,
        "paired": paired,
        "slices": {
            name: figures_of(values["model"], slices)
            for name, slices in slices_of(impressions, trained_V, new_user_I).items()
        },
        "alarms": alarms(methods, impressions, has_tokens_V),
        "left_out": [*_without_order(evaluated_I), *([] if known else [unknown])],
    }


def _without_order(evaluated_I: BoolArray) -> list[str]:
    """A sentence on impressions that no metric can evaluate; most logs have some, so it is no alarm."""
    skipped = int((~evaluated_I).sum())
    if not skipped:
        return []
    return [
        f"{skipped:,} impressions ({skipped / len(evaluated_I):.1%}) of one class: all or none of their news were "
        "clicked, so there is no order to evaluate"
    ]


def negatives_of(evaluation: pa.Table) -> str:
    """`drawn` where negatives are sampled from the day's clicks, `shown` where users saw all candidates."""
    drawn = "drawn" in evaluation.column_names and bool(pc.any(evaluation["drawn"]).as_py())
    return "drawn" if drawn else "shown"


def _without_labels() -> dict[str, Any]:
    return {
        "split": {"first": None, "last": None},
        "negatives": None,
        "impressions": 0,
        "skipped": 0,
        "methods": {},
        "paired": {},
        "slices": {},
        "alarms": [],
        "left_out": ["all figures: no impression carries click marks, so nothing is evaluated"],
    }


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
