"""Every item -> its vector, whether its frozen output is stored or not: more is exported than training looks at."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import NDArray

from trainer.model.item_input import ItemInput
from trainer.model.item_vectors import encode_rows
from trainer.model.text_encoder import TextEncoder

ROWS_AT_ONCE = 2048  # between two words of progress

Vectors = NDArray[np.float32]


def encode_any(
    encoder: TextEncoder,
    items: ItemInput,
    rows: NDArray[np.int64],
    *,
    stored: NDArray[np.int64],
    progress: Callable[[int], None],
) -> Vectors:
    """Vectors (len(rows), D) in the order of `rows`; those in `stored` from the frozen output that the trainer used.

    The others pass the whole language model. `progress` is called with each row done. The encoder must be in eval mode.
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
