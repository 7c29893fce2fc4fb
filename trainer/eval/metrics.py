"""Ranking metrics per impression, vectorised: AUC, MRR, nDCG@k. numpy only; a leaf that imports nothing of ours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.floating[Any]]
IntArray = NDArray[np.integer[Any]]
BoolArray = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class RankingMetrics:
    """Means over the impressions that hold both a click and an unclicked news."""

    auc: float
    mrr: float
    ndcg5: float
    ndcg10: float
    impressions: int
    skipped: int  # impressions of one class: no order to judge

    def as_dict(self) -> dict[str, float]:
        """Name to value, for JSON."""
        return {name: getattr(self, name) for name in self.__slots__}


def ranking_metrics(score_X: FloatArray, clicked_X: BoolArray, start_I1: IntArray) -> RankingMetrics:
    """Metrics of flat scores; impression i owns entries start_I1[i] to start_I1[i+1], in the order shown.

    AUC counts ties half. MRR is the mean of 1/rank over the clicked news of an impression and nDCG has binary gain, as
    MIND's scorer has them; there ties keep the order shown. Impressions of one class are skipped and counted.
    """
    size_I = np.diff(start_I1)
    impression_X = np.repeat(np.arange(len(size_I)), size_I)
    positives_I = _per_impression(clicked_X, impression_X, len(size_I))
    judged_I = (positives_I > 0) & (positives_I < size_I)
    if not judged_I.any():
        nan = float("nan")
        return RankingMetrics(auc=nan, mrr=nan, ndcg5=nan, ndcg10=nan, impressions=0, skipped=len(size_I))
    auc_I = _auc(score_X, clicked_X, impression_X, positives_I, size_I)
    # Stable sort by score: ties keep the order shown.
    order_X = np.lexsort((-score_X, impression_X))
    rank_X = np.arange(len(order_X)) - np.repeat(start_I1[:-1], size_I)  # 0 = best, within its impression
    hit_X = clicked_X[order_X]
    reciprocal_I = _per_impression(hit_X / (rank_X + 1.0), impression_X, len(size_I))
    with np.errstate(divide="ignore", invalid="ignore"):
        mrr_I = reciprocal_I / positives_I
    ndcg_I = {k: _ndcg(hit_X, rank_X, impression_X, positives_I, k) for k in (5, 10)}
    return RankingMetrics(
        auc=float(auc_I[judged_I].mean()),
        mrr=float(mrr_I[judged_I].mean()),
        ndcg5=float(ndcg_I[5][judged_I].mean()),
        ndcg10=float(ndcg_I[10][judged_I].mean()),
        impressions=int(judged_I.sum()),
        skipped=int((~judged_I).sum()),
    )


def _per_impression(value_X: FloatArray | BoolArray, impression_X: IntArray, size: int) -> FloatArray:
    """Sum of the entries of each impression."""
    return np.asarray(np.bincount(impression_X, value_X.astype(np.float64), minlength=size), np.float64)


def _auc(
    score_X: FloatArray, clicked_X: BoolArray, impression_X: IntArray, positives_I: FloatArray, size_I: IntArray
) -> FloatArray:
    """Mann-Whitney: the rank sum of the clicked, ties at their mean rank."""
    order_X = np.lexsort((score_X, impression_X))
    score_sorted, impression_sorted = score_X[order_X], impression_X[order_X]
    new_X = np.r_[True, (np.diff(score_sorted) != 0) | (np.diff(impression_sorted) != 0)]
    group_X = np.cumsum(new_X) - 1
    first_G = np.flatnonzero(new_X)
    last_G = np.r_[first_G[1:], len(new_X)] - 1
    start_X = np.repeat(np.cumsum(size_I) - size_I, size_I)
    mean_rank_X = (first_G + last_G)[group_X] / 2.0 - start_X + 1
    rank_sum_I = _per_impression(mean_rank_X * clicked_X[order_X], impression_sorted, len(size_I))
    negatives_I = size_I - positives_I
    with np.errstate(divide="ignore", invalid="ignore"):
        auc_I: FloatArray = (rank_sum_I - positives_I * (positives_I + 1) / 2) / (positives_I * negatives_I)
    return auc_I


def _ndcg(hit_X: BoolArray, rank_X: IntArray, impression_X: IntArray, positives_I: FloatArray, k: int) -> FloatArray:
    gain_X = np.where(rank_X < k, hit_X / np.log2(rank_X + 2.0), 0.0)
    ideal = np.cumsum(1.0 / np.log2(np.arange(k) + 2.0))
    best_I = ideal[np.clip(positives_I.astype(int), 1, k) - 1]
    ndcg_I: FloatArray = _per_impression(gain_X, impression_X, len(positives_I)) / best_I
    return ndcg_I
