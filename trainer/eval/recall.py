"""Computes recall: the share of a user's clicks among the k best of all news shown on a day, by exact search."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from schemas.news import PAD_ROW
from trainer.eval.impressions import Impressions
from trainer.eval.metrics import IntArray
from trainer.model.item_vectors import ItemVectors

AT = (5, 10, 50, 100)
_PAIRS_AT_ONCE = 1 << 24  # scores of clicks against a pool; bounds memory, not the result


def recall_over_days(
    user_ID: Tensor, vectors: ItemVectors, impressions: Impressions, day_I: NDArray[Any]
) -> dict[str, Any]:
    """Mean size of the days' pools, and recall at each k, as the mean over impressions with a click.

    A day's pool is every distinct item that any user was shown that day. Ties are broken by item row.
    """
    sizes, recalls = [], []
    for day in np.unique(day_I):
        inside_X = (day_I == day)[impressions.impression_X] & (impressions.shown_X != PAD_ROW)
        pool = np.unique(impressions.shown_X[inside_X])
        clicked_X = inside_X & impressions.clicked_X
        of_E, row_E = _distinct(impressions.impression_X[clicked_X], impressions.shown_X[clicked_X])
        sizes.append(len(pool))
        recalls.append(_recalls(_ranks(user_ID, vectors, pool, of_E, row_E), of_E))
    every = np.concatenate([np.zeros((0, len(AT))), *recalls])
    return {"pool": float(np.mean(sizes)), "at": dict(zip(map(str, AT), every.mean(0).tolist(), strict=True))}


@torch.no_grad()
def best_of_day(
    user_D: Tensor, vectors: ItemVectors, impressions: Impressions, day_I: NDArray[Any], at: int, *, count: int
) -> list[tuple[int, float]]:
    """(item row, score) of the `count` best items for the user vector (D,), best first: among all shown on the day of
    impression `at`, without those in its history."""
    inside_X = (day_I == day_I[at])[impressions.impression_X] & (impressions.shown_X != PAD_ROW)
    read = impressions.history_Y[slice(*impressions.history_start_I1[at : at + 2])]
    pool = np.setdiff1d(impressions.shown_X[inside_X], read)
    score_P = vectors.vector_RD[vectors.places(pool)] @ user_D
    best = torch.argsort(score_P, descending=True, stable=True)[:count].tolist()
    return [(int(pool[place]), float(score_P[place])) for place in best]


def _distinct(impression_E: IntArray, row_E: IntArray) -> tuple[IntArray, IntArray]:
    """Each clicked item of an impression once: two news ids may have the same item row."""
    pairs = np.unique(np.column_stack([impression_E, row_E]), axis=0)
    return pairs[:, 0], pairs[:, 1]


def _recalls(rank_E: IntArray, of_E: IntArray) -> NDArray[np.float64]:
    """Share (I, K) of an impression's clicks among the first k, one row per impression with a click."""
    _, start = np.unique(of_E, return_index=True)
    hit_EK = (rank_E[:, None] <= np.array(AT)).astype(np.float64)
    if not len(start):
        return hit_EK
    share_IK: NDArray[np.float64] = np.add.reduceat(hit_EK, start, axis=0) / np.diff(np.r_[start, len(of_E)])[:, None]
    return share_IK


@torch.no_grad()
def _ranks(user_ID: Tensor, vectors: ItemVectors, pool: IntArray, of_E: IntArray, row_E: IntArray) -> IntArray:
    """The rank of each clicked item in the entire pool for the impression's user; 1 = best."""
    pool_PD = vectors.vector_RD[vectors.places(pool)]
    place_E = torch.from_numpy(np.searchsorted(pool, row_E)).to(user_ID.device)
    user_E = torch.from_numpy(of_E).to(user_ID.device)
    number_P = torch.arange(len(pool), device=user_ID.device)
    ranks = []
    at_once = max(1, _PAIRS_AT_ONCE // max(1, len(pool)))
    for user, place in zip(user_E.split(at_once), place_E.split(at_once), strict=True):
        score_EP = user_ID[user] @ pool_PD.T
        own_E1 = score_EP.gather(1, place[:, None])
        before_EP = (score_EP > own_E1) | ((score_EP == own_E1) & (number_P < place[:, None]))
        ranks.append(before_EP.sum(1) + 1)
    return np.concatenate([np.zeros(0, np.int64), *(rank.cpu().numpy() for rank in ranks)])
