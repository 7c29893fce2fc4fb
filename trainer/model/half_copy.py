"""Copies an encoder in bfloat16: the form in which a GPU multiplies it, in training and when vectors are exported."""

from __future__ import annotations

import copy
from typing import Any

import torch

from trainer.model.text_encoder import TextEncoder


def half_copy(encoder: TextEncoder) -> TextEncoder:
    """A bfloat16 copy of all but the frozen layers, which the copy shares.

    The modules around the trained layers are copied too, except the word embeddings.
    """
    shared: dict[int, Any] = {id(module): module for module in encoder.split.shared_modules}
    half = copy.deepcopy(encoder, shared)
    kept = {id(p) for module in half.split.shared_modules for p in module.parameters()}
    around = [p for module in half.split.around_modules for p in module.parameters() if id(p) not in kept]
    for own in (*half.parameters(), *around):  # buffers stay float32: rotary angles need full precision
        own.data = own.data.to(torch.bfloat16)
        own.grad = None
    return half
