"""Summarises the metrics of the labelled impressions: means, intervals, slices and alarms in one dictionary."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from schemas.errors import InputError
from trainer.data.evaluation import labelled
from trainer.eval.alarms import alarms
from trainer.eval.baselines import BUILD_AGAIN
from trainer.eval.impressions import Impressions, dates
from trainer.eval.intervals import compared
from trainer.eval.metrics import BoolArray, FloatArray, metrics_per_impression
from trainer.eval.slices import figures_of, slices_of


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
