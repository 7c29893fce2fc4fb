"""Stores the frozen lower layers' output, computed once per item without dropout and rounded to half precision."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainer.model.item_input import ItemInput, on_device
from trainer.model.split_encoder import SplitEncoder

_STORE_VERSION = b"2"  # part of the key, so that stores of version 1, whose first token is wrong, are not used
CHUNK_TOKENS = 8192  # tokens that pass the frozen layers together


def fill_store(
    split: SplitEncoder,
    items: ItemInput,
    rows: NDArray[np.int64],
    store_H: Tensor,
    progress: Callable[[int], None],
    *,
    first: int = 0,
) -> None:
    """Writes the output for every token of `rows` into `store_H` (token values x H), which begins with the table's
    token value `first`.

    `progress` is called with the number of rows done since its last call.
    """
    with_tokens = rows[items.tokens_V[rows] > 0]
    order = with_tokens[np.argsort(items.tokens_V[with_tokens], kind="stable")]
    progress(len(rows) - len(order))
    start = 0
    while start < len(order):
        widest = int(items.tokens_V[order[min(start + 255, len(order) - 1)]])
        chunk = order[start : start + max(1, min(256, CHUNK_TOKENS // max(1, widest)))]
        segments = items.segments(chunk)
        shape = (-1, segments.token_CST.shape[-1])
        token_CT, mask_CT = segments.token_CST.reshape(shape), segments.mask_CST.reshape(shape)
        hidden_CTH = split.lower(on_device(items.ids(token_CT), items.device), on_device(mask_CT, items.device))
        # A segment that an item lacks shows the table's first token, which belongs to another item.
        real_CT = mask_CT & segments.segment_mask_CS.reshape(-1, 1)
        places = torch.from_numpy(token_CT[real_CT] - first).to(store_H.device)
        store_H[places] = hidden_CTH[on_device(real_CT, items.device)].to(store_H.device, store_H.dtype)
        progress(len(chunk))
        start += len(chunk)


def weights_sha256(split: SplitEncoder) -> str:
    """Hash of the frozen weights: layers trained on top of them work with no others."""
    digest = hashlib.sha256(str(split.frozen_layers).encode())
    for parameter in split.frozen_parameters():
        digest.update(parameter.detach().cpu().numpy().tobytes())
    return digest.hexdigest()


def frozen_key(split: SplitEncoder, rows: NDArray[np.int64], tokens_sha256: str) -> str:
    """Identity of a store: a hash of the frozen weights, the rows that it holds and their tokens."""
    parts = _STORE_VERSION + weights_sha256(split).encode() + tokens_sha256.encode() + rows.tobytes()
    return hashlib.sha256(parts).hexdigest()[:16]
