"""Computes ranking metrics per impression, vectorised: AUC, MRR, nDCG@k. numpy only; imports no module of ours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.floating[Any]]
IntArray = NDArray[np.integer[Any]]
BoolArray = NDArray[np.bool_]

METRICS = ("auc", "mrr", "ndcg5", "ndcg10")  # the columns of arrays with M columns


@dataclass(frozen=True, slots=True, kw_only=True)
class RankingMetrics:
    """Means over the impressions that hold both a click and an unclicked news."""

    auc: float
    mrr: float
    ndcg5: float
    ndcg10: float
    impressions: int
    skipped: int  # impressions of one class, which have no order to evaluate

    @classmethod
    def of(cls, value_IM: FloatArray) -> RankingMetrics:
        """Means of the result of metrics_per_impression; NaN where no impression has an order to evaluate."""
        evaluated_I = ~np.isnan(value_IM[:, 0])
        found = value_IM[evaluated_I].mean(0) if evaluated_I.any() else np.full(len(METRICS), np.nan)
        means = dict(zip(METRICS, found.tolist(), strict=True))
        return cls(**means, impressions=int(evaluated_I.sum()), skipped=int((~evaluated_I).sum()))


def ranking_metrics(score_X: FloatArray, clicked_X: BoolArray, start_I1: IntArray) -> RankingMetrics:
    """Means of metrics_per_impression; impressions of one class are skipped and counted."""
    return RankingMetrics.of(metrics_per_impression(score_X, clicked_X, start_I1))


def metrics_per_impression(score_X: FloatArray, clicked_X: BoolArray, start_I1: IntArray) -> FloatArray:
    """METRICS (I, M) of flat scores; impression i has entries start_I1[i] to start_I1[i+1], in the order shown.

    AUC counts ties half. MRR is the mean of 1/rank over the clicked news of an impression and nDCG has binary gain, as
    in MIND's scorer; there ties keep the order shown. Impressions of one class have no order to evaluate: NaN.
    """
    size_I = np.diff(start_I1)
    impression_X = np.repeat(np.arange(len(size_I)), size_I)
    positives_I = _per_impression(clicked_X, impression_X, len(size_I))
    hit_X = clicked_X[best_first(score_X, start_I1)]
    rank_X = np.arange(len(hit_X)) - np.repeat(start_I1[:-1], size_I)  # 0 = best, within its impression
    reciprocal_I = _per_impression(hit_X / (rank_X + 1.0), impression_X, len(size_I))
    values = (
        _auc(score_X, clicked_X, impression_X, positives_I, size_I),
        reciprocal_I / np.maximum(positives_I, 1),
        *(_ndcg(hit_X, rank_X, impression_X, positives_I, k) for k in (5, 10)),
    )
    evaluated_I = (positives_I > 0) & (positives_I < size_I)
    return np.where(evaluated_I[:, None], np.column_stack(values), np.nan)


def best_first(score_X: FloatArray, start_I1: IntArray) -> NDArray[np.int64]:
    """Positions of the entries, impression by impression, best score first; ties keep the order shown."""
    size_I = np.diff(start_I1)
    return np.asarray(np.lexsort((-score_X, np.repeat(np.arange(len(size_I)), size_I))), np.int64)


def _per_impression(value_X: FloatArray | BoolArray, impression_X: IntArray, size: int) -> FloatArray:
    """The sum (I,) of each impression's entries."""
    return np.asarray(np.bincount(impression_X, value_X.astype(np.float64), minlength=size), np.float64)


def _auc(
    score_X: FloatArray, clicked_X: BoolArray, impression_X: IntArray, positives_I: FloatArray, size_I: IntArray
) -> FloatArray:
    """Mann-Whitney: from the rank sum of the clicked entries; ties have their mean rank."""
    order_X = np.lexsort((score_X, impression_X))
    score_sorted, impression_sorted = score_X[order_X], impression_X[order_X]
    new_X = np.ones(len(order_X), np.bool_)
    new_X[1:] = (score_sorted[1:] != score_sorted[:-1]) | (np.diff(impression_sorted) != 0)
    group_X = np.cumsum(new_X) - 1
    first_G = np.flatnonzero(new_X)
    last_G = np.r_[first_G[1:], len(new_X)] - 1
    start_X = np.repeat(np.cumsum(size_I) - size_I, size_I)
    mean_rank_X = (first_G + last_G)[group_X] / 2.0 - start_X + 1
    rank_sum_I = _per_impression(mean_rank_X * clicked_X[order_X], impression_sorted, len(size_I))
    pairs_I = np.maximum(positives_I * (size_I - positives_I), 1)
    auc_I: FloatArray = (rank_sum_I - positives_I * (positives_I + 1) / 2) / pairs_I
    return auc_I


def _ndcg(hit_X: BoolArray, rank_X: IntArray, impression_X: IntArray, positives_I: FloatArray, k: int) -> FloatArray:
    gain_X = np.where(rank_X < k, hit_X / np.log2(rank_X + 2.0), 0.0)
    ideal = np.cumsum(1.0 / np.log2(np.arange(k) + 2.0))
    best_I = ideal[np.clip(positives_I.astype(int), 1, k) - 1]
    ndcg_I: FloatArray = _per_impression(gain_X, impression_X, len(positives_I)) / best_I
    return ndcg_I
