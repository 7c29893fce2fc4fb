"""Verdict: scores of the labelled impressions -> means, intervals, slices and alarms in one dictionary."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from schemas.errors import InputError
from trainer.data.evaluation import labelled
from trainer.eval.alarms import alarms
from trainer.eval.baselines import ANEW
from trainer.eval.impressions import Impressions, dates
from trainer.eval.intervals import compared
from trainer.eval.metrics import BoolArray, FloatArray, metrics_per_impression
from trainer.eval.slices import figures_of, slices_of


def values_of(scores: Mapping[str, FloatArray], impressions: Impressions) -> dict[str, FloatArray]:
    """Each method's metrics per impression, IM; InputError if there is no impression to judge."""
    values = {
        name: metrics_per_impression(score_X, impressions.clicked_X, impressions.shown_start_I1)
        for name, score_X in scores.items()
    }
    if "model" in values and np.isnan(values["model"][:, 0]).all():
        raise InputError(
            "no evaluation impression holds both a click and an unclicked news, so there is no order to judge. "
            "Run ./feedloop build_trajectories with an earlier --evaluate-from, then ./feedloop pack"
        )
    return values


def verdict(
    evaluation: pa.Table, values: Mapping[str, FloatArray], *, trained_V: BoolArray, told_V: BoolArray
) -> dict[str, Any]:
    """Everything told of the labelled impressions but recall.

    `values` are metrics per impression by method; `trained_V` tells which items stand in a training batch, `told_V`
    which have tokens.
    """
    if not values:
        return _nothing_judged()
    table, impressions = labelled(evaluation), Impressions.of(evaluation)
    judged_I = ~np.isnan(values["model"][:, 0])
    methods, paired = compared({name: value_IM[judged_I] for name, value_IM in values.items()})
    told = "new_user" in table.column_names and not table["new_user"].null_count
    new_user_I = table["new_user"].to_numpy().astype(np.bool_) if told else None
    unknown_users = [] if told else [f"slices by new users: the packed directory does not tell who is new; {ANEW}"]
    day_I = dates(table)
    return {
        "split": {"first": str(day_I.min()), "last": str(day_I.max())},
        "negatives": negatives_of(table),
        "impressions": int(judged_I.sum()),
        "skipped": int((~judged_I).sum()),
        "methods": methods,
        "paired": paired,
        "slices": {
            name: figures_of(values["model"], slices)
            for name, slices in slices_of(impressions, trained_V, new_user_I).items()
        },
        "alarms": alarms(methods, impressions, told_V),
        "left_out": [*_without_order(judged_I), *unknown_users],
    }


def _without_order(judged_I: BoolArray) -> list[str]:
    """A sentence on impressions that no metric can judge; most logs have some, so it is no alarm."""
    skipped = int((~judged_I).sum())
    if not skipped:
        return []
    return [
        f"{skipped:,} impressions ({skipped / len(judged_I):.1%}) of one class: all or none of their news were "
        "clicked, so there is no order to judge"
    ]


def negatives_of(evaluation: pa.Table) -> str:
    """`drawn` where clicks stand beside news that were drawn from the day's clicks, `shown` where users saw all."""
    drawn = "drawn" in evaluation.column_names and bool(pc.any(evaluation["drawn"]).as_py())
    return "drawn" if drawn else "shown"


def _nothing_judged() -> dict[str, Any]:
    return {
        "split": {"first": None, "last": None},
        "negatives": None,
        "impressions": 0,
        "skipped": 0,
        "methods": {},
        "paired": {},
        "slices": {},
        "alarms": [],
        "left_out": ["all figures: no impression carries click marks, so nothing is judged"],
    }
