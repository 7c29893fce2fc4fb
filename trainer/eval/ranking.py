"""Scores impressions: encodes every item once, then scores what each user was shown."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from schemas.news import PAD_ROW
from trainer.eval.impressions import Impressions
from trainer.eval.metrics import FloatArray, IntArray
from trainer.model.item_input import ItemInput
from trainer.model.item_vectors import ItemVectors, model_vectors, without_dropout
from trainer.model.text_encoder import TextEncoder
from trainer.model.user_encoder import UserEncoder
from trainer.ranks.split_work import ALL, Share, in_shares

CHUNK_IMPRESSIONS = 256
_CHUNK_SHOWN = 1 << 16


def user_vectors(
    user: UserEncoder, vectors: ItemVectors, impressions: Impressions, *, history_clicks: int, share: Share = ALL
) -> Tensor:
    """One user vector per impression (I, D), from the latest `history_clicks` clicks of its history."""

    def of_chunk(chunk: slice) -> Tensor:
        row_IL, mask_IL = _histories(impressions, chunk, history_clicks, fill=int(vectors.rows[0]))
        mask = torch.from_numpy(mask_IL).to(vectors.vector_RD.device)
        vector_ILD = vectors.vector_RD[vectors.places(row_IL)]
        state_I1D: Tensor = user(vector_ILD, mask, _each_before(mask), mask.sum(1, keepdim=True))
        return state_I1D[:, 0]

    with without_dropout(user):
        return in_shares(impressions.size, CHUNK_IMPRESSIONS, of_chunk, share)


def model_scores(
    encoder: TextEncoder,
    user: UserEncoder,
    items: ItemInput,
    impressions: Impressions,
    *,
    history_clicks: int,
) -> FloatArray:
    """The model's score of every shown entry, for users given by the latest `history_clicks` clicks of the history."""
    vectors = model_vectors(encoder, items, impressions.rows)
    user_ID = user_vectors(user, vectors, impressions, history_clicks=history_clicks)
    return shown_scores(user_ID, vectors, impressions)


def _each_before(mask_IL: Tensor) -> Tensor:
    """Lets each click see all earlier ones: a history does not say which clicks belong to one impression."""
    return torch.arange(mask_IL.shape[1], device=mask_IL.device).expand_as(mask_IL)


def _histories(
    impressions: Impressions, chunk: slice, history_clicks: int, *, fill: int
) -> tuple[IntArray, NDArray[np.bool_]]:
    """(item row, mask), both (I', L), of the latest clicks of a chunk of impressions."""
    starts = impressions.history_start_I1[chunk.start : chunk.stop + 1]
    end_I = starts[1:]
    begin_I = np.maximum(starts[:-1], end_I - history_clicks)
    place_IL = begin_I[:, None] + np.arange(max(1, int((end_I - begin_I).max(initial=0))))
    mask_IL = place_IL < end_I[:, None]
    row_IL = np.full(place_IL.shape, fill)
    row_IL[mask_IL] = impressions.history_Y[place_IL[mask_IL]]
    return row_IL, mask_IL


def shown_scores(user_ID: Tensor, vectors: ItemVectors, impressions: Impressions, share: Share = ALL) -> FloatArray:
    """Dot product of each shown entry with its impression's user; minus infinity for a news without an item."""
    impression_X = torch.from_numpy(impressions.impression_X).to(user_ID.device)
    place_X = vectors.places(impressions.shown_X)

    def of_chunk(chunk: slice) -> Tensor:
        return (user_ID[impression_X[chunk]] * vectors.vector_RD[place_X[chunk]]).sum(-1)

    with torch.no_grad():
        score_X = in_shares(len(impressions.shown_X), _CHUNK_SHOWN, of_chunk, share)
    return np.where(impressions.shown_X == PAD_ROW, -np.inf, score_X.cpu().numpy().astype(np.float64))
