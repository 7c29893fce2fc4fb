"""Computes a user's state from the vectors of clicked news, with the user encoder alone."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from trainer.eval.impressions import Impressions
from trainer.model.user_encoder import UserEncoder


@torch.no_grad()
def user_state(user: UserEncoder, click_LD: NDArray[np.float32]) -> NDArray[np.float32]:
    """The state (D,) after L clicks in order; each click sees all earlier ones. Without clicks: the start vector."""
    clicks = torch.from_numpy(np.ascontiguousarray(click_LD))[None]
    mask_BL = torch.ones(clicks.shape[:2], dtype=torch.bool)
    earlier_BL = torch.arange(clicks.shape[1])[None]
    state_BPD = user.eval()(clicks, mask_BL, earlier_BL, torch.tensor([[clicks.shape[1]]]))
    return np.asarray(state_BPD[0, 0].numpy())


def histories(impressions: Impressions, *, limit: int, latest: int) -> Iterator[NDArray[np.int64]]:
    """The latest `latest` item rows of the histories of the first `limit` impressions."""
    for number in range(min(limit, impressions.size)):
        start, end = impressions.history_start_I1[number : number + 2]
        yield np.asarray(impressions.history_Y[max(start, end - latest) : end], np.int64)
