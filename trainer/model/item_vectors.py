"""Encodes item rows once, in evaluation mode, in chunks that the ranks share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from trainer.model.item_input import ItemInput
from trainer.model.text_encoder import TextEncoder
from trainer.ranks.split_work import ALL, Share, in_shares

CHUNK_ROWS = 256


Vectors = Callable[[NDArray[np.int64]], Tensor]  # item rows (C,) -> vectors (C, D)


@contextmanager
def without_dropout(*modules: nn.Module) -> Iterator[None]:
    """Inside, the modules are in evaluation mode without gradients; afterwards their modes are restored."""
    were_training = [module.training for module in modules]
    for module in modules:
        module.eval()
    with torch.no_grad():
        yield
    for module, training in zip(modules, were_training, strict=True):
        module.train(training)


@contextmanager
def without_bus(encoder: TextEncoder) -> Iterator[None]:
    """Inside, the bus is off: segments do not see each other, as in the language model's own training."""
    bus, encoder.split.bus = encoder.split.bus, False
    yield
    encoder.split.bus = bus


@dataclass(frozen=True, slots=True)
class ItemVectors:
    """Vectors (R, D) of R item rows, ascending."""

    rows: NDArray[np.int64]
    vector_RD: Tensor

    def places(self, row_X: NDArray[np.integer[Any]]) -> Tensor:
        """The position of each row in `vector_RD`."""
        return torch.from_numpy(np.searchsorted(self.rows, row_X)).to(self.vector_RD.device)


def encode_rows(vectors: Vectors, items: ItemInput, rows: NDArray[np.int64], share: Share = ALL) -> Tensor:
    """Vectors (len(rows), D) in the order of `rows`, encoded in chunks of similar length."""
    order = np.argsort(items.tokens_V[rows], kind="stable")

    def encoded(chunk: slice) -> Tensor:
        vector_CD = vectors(rows[order[chunk]])
        return vector_CD.float() if vector_CD.dtype == torch.bfloat16 else vector_CD

    with torch.no_grad():
        stacked = in_shares(len(rows), CHUNK_ROWS, encoded, share)
    result = torch.empty_like(stacked)
    result[torch.from_numpy(order).to(stacked.device)] = stacked
    return result


def model_vectors(encoder: TextEncoder, items: ItemInput, rows: NDArray[np.int64], share: Share = ALL) -> ItemVectors:
    """The text encoder's vectors, encoded now: none is looked up in training's vector table."""
    with without_dropout(encoder):
        return ItemVectors(rows, encode_rows(lambda rows_C: encoder(rows_C, items), items, rows, share))
