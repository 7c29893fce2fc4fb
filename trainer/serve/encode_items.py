"""Encodes items with and without stored frozen output: an export has more items than training."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import NDArray

from trainer.model.item_input import ItemInput
from trainer.model.item_vectors import encode_rows
from trainer.model.text_encoder import TextEncoder

ROWS_AT_ONCE = 2048  # between two calls of `progress`

Vectors = NDArray[np.float32]


def encode_all(
    encoder: TextEncoder,
    items: ItemInput,
    rows: NDArray[np.int64],
    *,
    stored: NDArray[np.int64],
    progress: Callable[[int], None],
) -> Vectors:
    """Vectors (len(rows), D) in the order of `rows`. Rows in `stored` are encoded from training's frozen output.

    The others pass through the entire language model. `progress` is called with the number of rows done since its last
    call. The encoder must be in eval mode.
    """
    vector_RD = np.empty((len(rows), encoder.project.out_features), np.float32)
    is_stored_R = np.isin(rows, stored)
    for source, mask_R in ((items, is_stored_R), (items.without_store(), ~is_stored_R)):
        place_R = np.flatnonzero(mask_R)
        place_R = place_R[np.argsort(items.tokens_V[rows[place_R]], kind="stable")]
        for start in range(0, len(place_R), ROWS_AT_ONCE):
            part = place_R[start : start + ROWS_AT_ONCE]
            vectors = encode_rows(partial(encoder, items=source), items, rows[part])
            vector_RD[part] = vectors.cpu().numpy()
            progress(len(part))
    return vector_RD
