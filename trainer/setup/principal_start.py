"""Principal start: sets the projection to the principal axes of the training items' centred pooled output."""

from __future__ import annotations

import numpy as np
import torch

from schemas.errors import InputError
from trainer.model.item_vectors import encode_rows
from trainer.setup.prepare import Prepared

SAMPLE = 4096  # items, evenly spaced among those clicked in training


@torch.no_grad()
def start_projection(prepared: Prepared) -> None:
    """Set the untrained projection as `encoder.projection_start` says; `orthogonal` leaves it as it is.

    Every rank does so by itself, from the same items and weights.
    """
    config, encoder = prepared.config.encoder, prepared.encoder
    if config.projection_start == "orthogonal":
        return
    if config.vector_width > encoder.split.hidden:
        raise InputError(
            f"encoder.vector_width is {config.vector_width}, and plm {config.plm!r} gives {encoder.split.hidden} "
            "numbers: it has no more principal axes. Lower it, or set encoder.projection_start = orthogonal"
        )
    rows = np.flatnonzero(prepared.clicks_V)
    rows = rows[np.linspace(0, len(rows) - 1, min(SAMPLE, len(rows))).astype(np.int64)]
    was_training = encoder.training
    encoder.eval()
    encoder.project_principal(encode_rows(lambda row_C: encoder.pooled(row_C, prepared.items), prepared.items, rows))
    encoder.train(was_training)
