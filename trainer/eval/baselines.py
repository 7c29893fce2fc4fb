"""Scores impressions by baselines, which need no training, for comparison with the model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from trainer.data.evaluation import labelled
from trainer.eval.catalogue import Catalogue, TextArray
from trainer.eval.impressions import Impressions, true_probabilities
from trainer.eval.metrics import FloatArray, IntArray
from trainer.eval.ranking import shown_scores
from trainer.model.item_input import ItemInput
from trainer.model.item_vectors import ItemVectors, encode_rows, without_bus, without_dropout
from trainer.model.text_encoder import TextEncoder
from trainer.ranks.split_work import ALL, Share

BUILD_AGAIN = "run ./feedloop build_trajectories and ./feedloop pack again"  # adds columns that older versions lack
_CHUNK_HISTORY = 1 << 16
_PRIOR_SHOWINGS = 10


@dataclass(frozen=True, slots=True)
class EvaluationInputs:
    """Inputs of an evaluation in addition to the packed directory; None where not given."""

    catalogue: Catalogue | None = None
    truth: pa.Table | None = None
    """the probabilities that drew a synthetic publisher's clicks"""


def with_baselines(
    scores: Mapping[str, FloatArray], clicks_V: NDArray[np.int64], evaluation: pa.Table, inputs: EvaluationInputs
) -> tuple[dict[str, FloatArray], list[str]]:
    """(`scores` and those of every baseline, sentences on baselines whose data is missing)."""
    if not scores:
        return {}, []
    table, impressions = labelled(evaluation), Impressions.of(evaluation)
    every, left_out = {**scores, "popularity": popularity_scores(clicks_V, impressions)}, []
    recent = recent_scores(table)
    every |= recent
    if not recent:
        left_out.append(f"popularity of the last day: the packed directory lacks recent clicks; {BUILD_AGAIN}")
    newest = recency_scores(table)
    if newest is None:
        left_out.append(f"newest first: the packed directory lacks when news were first shown; {BUILD_AGAIN}")
    else:
        every["recency"] = newest
    if inputs.catalogue is None:
        left_out.append("category match and examples: categories and titles need --lake")
    else:
        every["category"] = category_scores(inputs.catalogue, impressions)
    if inputs.truth is not None:
        every["oracle"] = true_probabilities(table, inputs.truth)
    return every, left_out


def zero_shot_scores(
    encoder: TextEncoder, items: ItemInput, impressions: Impressions, share: Share = ALL
) -> FloatArray:
    """Dot product of the candidate's untrained vector (mean of PLM tokens, length 1) with the mean of the history's.

    `encoder` must be as loaded, before any step; its bus is off, since it is untrained. A user without history scores
    0 everywhere: all ties.
    """
    rows = impressions.rows
    with without_dropout(encoder), without_bus(encoder):
        vector_RD = encode_rows(lambda rows_C: encoder.pooled(rows_C, items), items, rows, share)
    vectors = ItemVectors(rows, torch.nn.functional.normalize(vector_RD))
    length_I = np.diff(impressions.history_start_I1)
    of_Y = torch.from_numpy(np.repeat(np.arange(impressions.size), length_I)).to(vector_RD.device)
    place_Y = vectors.places(impressions.history_Y)
    user_ID = vector_RD.new_zeros(impressions.size, vector_RD.shape[1])
    for of, place in zip(of_Y.split(_CHUNK_HISTORY), place_Y.split(_CHUNK_HISTORY), strict=True):
        user_ID.index_add_(0, of, vectors.vector_RD[place])
    user_ID /= torch.from_numpy(np.maximum(length_I, 1)).to(vector_RD.device, vector_RD.dtype)[:, None]
    return shown_scores(user_ID, vectors, impressions, share)


def popularity_scores(clicks_V: NDArray[np.int64], impressions: Impressions) -> FloatArray:
    """How often an item was clicked in the training trajectories."""
    return clicks_V[impressions.shown_X].astype(np.float64)


def recent_scores(evaluation: pa.Table) -> dict[str, FloatArray]:
    """Popularity in the 24 hours before each impression, over all users: by clicks, and by clicks per showing.

    New news have scores too, from their first hour on. The rate is shrunk to the mean rate by _PRIOR_SHOWINGS added
    showings, so that one click in one showing does not win. Empty where the table lacks the counts.
    """
    shown_X, clicks_X = _entries(evaluation, "recent_shown"), _entries(evaluation, "recent_clicks")
    if shown_X is None or clicks_X is None:
        return {}
    mean = clicks_X.sum() / max(1.0, shown_X.sum())
    rate_X = (clicks_X + mean * _PRIOR_SHOWINGS) / (shown_X + _PRIOR_SHOWINGS)
    return {"recent_clicks": clicks_X, "recent_rate": rate_X}


def recency_scores(evaluation: pa.Table) -> FloatArray | None:
    """Ranks the news first shown latest first; None where the table lacks `shown_age_hours`."""
    hours_X = _entries(evaluation, "shown_age_hours")
    return None if hours_X is None else -hours_X


def _entries(evaluation: pa.Table, name: str) -> FloatArray | None:
    """The flat entries of a list column; None where the table lacks it, as older ones do."""
    if name not in evaluation.column_names or evaluation[name].null_count:
        return None
    return np.asarray(evaluation[name].combine_chunks().flatten().to_numpy(zero_copy_only=False), np.float64)


def category_scores(catalogue: Catalogue, impressions: Impressions) -> FloatArray:
    """Share of the history in the candidate's category, plus the share in its subcategory.

    A news without a category, or a user without history, scores 0.
    """
    return sum(
        (_share_alike(text_V, impressions) for text_V in (catalogue.category_V, catalogue.subcategory_V)),
        np.zeros(len(impressions.shown_X)),
    )


def _share_alike(text_V: TextArray, impressions: Impressions) -> FloatArray:
    """For each shown entry, the share of its impression's history with the same text."""
    texts, code_V = np.unique(text_V.astype(str), return_inverse=True)
    length_I = np.diff(impressions.history_start_I1)
    history_Y = np.repeat(np.arange(impressions.size), length_I) * len(texts) + code_V[impressions.history_Y]
    keys, counts = np.unique(history_Y, return_counts=True)
    alike_X = _counted(impressions.impression_X * len(texts) + code_V[impressions.shown_X], keys, counts)
    named_X = (text_V != "")[impressions.shown_X]
    share_X: FloatArray = np.where(named_X, alike_X, 0) / np.maximum(length_I, 1)[impressions.impression_X]
    return share_X


def _counted(key_X: IntArray, keys: IntArray, counts: IntArray) -> IntArray:
    """The count of each key; 0 for those not in `keys`, which ascend."""
    if not len(keys):
        return np.zeros(len(key_X), np.int64)
    place_X = np.minimum(np.searchsorted(keys, key_X), len(keys) - 1)
    return np.where(keys[place_X] == key_X, counts[place_X], 0)
