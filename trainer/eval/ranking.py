"""Score impressions: every item encoded once, then users against what they were shown; the model and its baselines."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainer.eval.impressions import Impressions
from trainer.eval.metrics import FloatArray
from trainer.model.item_input import ItemInput
from trainer.model.text_encoder import TextEncoder
from trainer.model.user_encoder import UserEncoder

CHUNK_ROWS = 256
CHUNK_IMPRESSIONS = 1024

Vectors = Callable[[NDArray[np.int64]], Tensor]  # item rows (C,) -> vectors (C, D)


@torch.no_grad()
def encode_rows(vectors: Vectors, items: ItemInput, rows: NDArray[np.int64]) -> Tensor:
    """Vectors (len(rows), D) in the order of `rows`, encoded in chunks of like length."""
    order = np.argsort(items.tokens_V[rows], kind="stable")
    parts = [vectors(rows[order[start : start + CHUNK_ROWS]]) for start in range(0, len(rows), CHUNK_ROWS)]
    stacked = torch.cat(parts)
    result = torch.empty_like(stacked)
    result[torch.from_numpy(order).to(stacked.device)] = stacked
    return result


@torch.no_grad()
def model_scores(
    encoder: TextEncoder,
    user: UserEncoder,
    items: ItemInput,
    impressions: Impressions,
    *,
    history_clicks: int,
) -> FloatArray:
    """The model's score of every shown entry; a user is the latest `history_clicks` clicks of the history given."""
    was_training = encoder.training
    encoder.eval()
    user.eval()
    rows = impressions.rows
    vector_RD = encode_rows(lambda rows_C: encoder(rows_C, items), items, rows)
    user_ID = torch.cat(
        [
            user(vector_RD[slot_IL], mask_IL, _each_before(mask_IL), mask_IL.sum(1, keepdim=True))[:, 0]
            for slot_IL, mask_IL in _histories(impressions, rows, history_clicks, items.device)
        ]
    )
    encoder.train(was_training)
    user.train(was_training)
    return _dot(user_ID, vector_RD, rows, impressions)


def _each_before(mask_IL: Tensor) -> Tensor:
    """A history does not say which clicks were of one impression: each may see all before it."""
    return torch.arange(mask_IL.shape[1], device=mask_IL.device).expand_as(mask_IL)


def _histories(
    impressions: Impressions, rows: NDArray[np.int64], history_clicks: int, device: torch.device
) -> Iterator[tuple[Tensor, Tensor]]:
    """(index into `rows`, mask), both (I', L), of the latest clicks of runs of impressions."""
    for first in range(0, impressions.size, CHUNK_IMPRESSIONS):
        starts = impressions.history_start_I1[first : first + CHUNK_IMPRESSIONS + 1]
        end_I = starts[1:]
        begin_I = np.maximum(starts[:-1], end_I - history_clicks)
        place_IL = begin_I[:, None] + np.arange(max(1, int((end_I - begin_I).max(initial=0))))
        mask_IL = place_IL < end_I[:, None]
        row_IL = np.full(place_IL.shape, rows[0])
        row_IL[mask_IL] = impressions.history_Y[place_IL[mask_IL]]
        yield torch.from_numpy(np.searchsorted(rows, row_IL)).to(device), torch.from_numpy(mask_IL).to(device)


def _dot(user_ID: Tensor, vector_RD: Tensor, rows: NDArray[np.int64], impressions: Impressions) -> FloatArray:
    """Dot product of each shown entry with its impression's user."""
    impression_X = torch.from_numpy(impressions.impression_X).to(user_ID.device)
    slot_X = torch.from_numpy(np.searchsorted(rows, impressions.shown_X)).to(user_ID.device)
    parts = [
        (user_ID[impression] * vector_RD[slot]).sum(-1)
        for impression, slot in zip(impression_X.split(1 << 16), slot_X.split(1 << 16), strict=True)
    ]
    return torch.cat(parts).cpu().numpy().astype(np.float64)


@torch.no_grad()
def zero_shot_scores(encoder: TextEncoder, items: ItemInput, impressions: Impressions) -> FloatArray:
    """Baseline: mean of the whole history's untrained vectors (mean of PLM tokens, length 1) times the candidate's.

    `encoder` must be as loaded, before any step. A user without history scores 0 everywhere: all ties.
    """
    encoder.eval()
    rows = impressions.rows
    vector_RD = torch.nn.functional.normalize(encode_rows(lambda rows_C: encoder.pooled(rows_C, items), items, rows))
    length_I = np.diff(impressions.history_start_I1)
    of_Y = torch.from_numpy(np.repeat(np.arange(impressions.size), length_I)).to(vector_RD.device)
    slot_Y = torch.from_numpy(np.searchsorted(rows, impressions.history_Y)).to(vector_RD.device)
    user_ID = vector_RD.new_zeros(impressions.size, vector_RD.shape[1])
    for of, slot in zip(of_Y.split(1 << 16), slot_Y.split(1 << 16), strict=True):
        user_ID.index_add_(0, of, vector_RD[slot])
    user_ID /= torch.from_numpy(np.maximum(length_I, 1)).to(vector_RD.device, vector_RD.dtype)[:, None]
    return _dot(user_ID, vector_RD, rows, impressions)


def popularity_scores(clicks_V: NDArray[np.int64], impressions: Impressions) -> FloatArray:
    """Baseline: how often an item was clicked in the training trajectories."""
    return clicks_V[impressions.shown_X].astype(np.float64)
