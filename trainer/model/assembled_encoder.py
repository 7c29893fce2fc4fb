"""Puts the trained layers back on the frozen ones: a language model that any Hugging Face program loads."""

from __future__ import annotations

from typing import Any, NamedTuple

from trainer.model.family_layers import layer_names
from trainer.model.pretrained import load_assembled
from trainer.model.split_encoder import SplitEncoder


class AssembledEncoder(NamedTuple):
    """The complete language model with trained weights, on the CPU in float32, with its decoder or image part."""

    plm: Any
    part: str
    """the dotted name of the part that encodes text; "" = the model itself"""
    first_trained: str | None
    """the dotted name of the first trained layer in `plm`; None where all of the part is trained"""


def assembled_plm(name: str, split: SplitEncoder) -> AssembledEncoder:
    """The language model `name` with the trained layers of `split` in place of its own."""
    plm, part = load_assembled(name)
    text = plm.get_submodule(part)
    if split.frozen_layers == 0:
        text.load_state_dict({key: tensor.cpu() for key, tensor in split.upper.state_dict().items()})
        return AssembledEncoder(plm.eval(), part, None)
    names = layer_names(text)[split.frozen_layers :]
    for inner, trained in zip(names, split.trained_layers, strict=True):
        text.get_submodule(inner).load_state_dict({key: tensor.cpu() for key, tensor in trained.state_dict().items()})
    return AssembledEncoder(plm.eval(), part, f"{part}.{names[0]}" if part else names[0])
