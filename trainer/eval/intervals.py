"""Computes confidence intervals of means over impressions by the bootstrap."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from trainer.eval.metrics import METRICS, FloatArray

RESAMPLES = 2000
_SEED = 20191113
_LEVELS = (2.5, 97.5)  # percentiles: an interval of 95%
_DRAWS_AT_ONCE = 1 << 22  # bounds memory, not the result


def resampled_means(value_IC: FloatArray, *, resamples: int = RESAMPLES, seed: int = _SEED) -> FloatArray:
    """Means (resamples, C) of C columns over impressions resampled with replacement.

    All columns share each draw, so a difference of columns is resampled in pairs. Efron and Tibshirani 1993, ch. 13.
    """
    size = len(value_IC)
    rng = np.random.default_rng(seed)
    per_block = max(1, _DRAWS_AT_ONCE // size)
    means = [
        _counts(rng, min(per_block, resamples - first), size) @ value_IC / size
        for first in range(0, resamples, per_block)
    ]
    return np.concatenate(means)


def _counts(rng: np.random.Generator, resamples: int, size: int) -> FloatArray:
    """How often each resample draws each of `size` impressions."""
    draw = rng.integers(0, size, (resamples, size)) + np.arange(resamples)[:, None] * size
    return np.bincount(draw.ravel(), minlength=resamples * size).reshape(resamples, size).astype(np.float64)


def interval(mean_RC: FloatArray) -> tuple[FloatArray, FloatArray]:
    """(low, high) of each column: the 95% percentile interval."""
    low_C, high_C = np.percentile(mean_RC, _LEVELS, axis=0)
    return low_C, high_C


def compared(values: Mapping[str, FloatArray], reference: str = "model") -> tuple[dict[str, Any], dict[str, Any]]:
    """(methods, paired): each method's means with their intervals, and `reference` minus each other method.

    `values`: each method's METRICS (I, M) of the evaluated impressions.
    """
    drawn = resampled_means(np.concatenate(list(values.values()), axis=1))
    of_method = dict(zip(values, np.split(drawn, len(values), axis=1), strict=True))
    methods, paired = {}, {}
    for name, value_IM in values.items():
        low_M, high_M = interval(of_method[name])
        methods[name] = {**_named(value_IM.mean(0)), "low": _named(low_M), "high": _named(high_M)}
        if name == reference:
            continue
        mean_M = (values[reference] - value_IM).mean(0)
        bounds = (_named(each) for each in (mean_M, *interval(of_method[reference] - of_method[name])))
        mean, low, high = bounds
        paired[name] = {m: {"mean": mean[m], "low": low[m], "high": high[m]} for m in METRICS}
    return methods, paired


def _named(value_M: FloatArray) -> dict[str, float]:
    return dict(zip(METRICS, value_M.tolist(), strict=True))
