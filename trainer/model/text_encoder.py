"""Encodes token segments to item vectors: attention over tokens, then over segments, then a linear layer.

A decoder's segment is represented by its last real token: no earlier one has seen all of the text.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding

from trainer.model.attention_pool import AdditiveAttention, LastToken
from trainer.model.encoder_input import EncoderInput, Layout, chunk_arrays
from trainer.model.item_input import FREQUENCIES, IntArray, ItemInput, on_device
from trainer.model.packed_rows import RowMaps
from trainer.model.pretrained import load_plm
from trainer.model.split_encoder import SplitEncoder

LARGEST_WIDTH = 1 << 14  # the table of vectors holds one for each item
LARGEST_ROW = 1 << 13  # tokens; attention grows with their square


@dataclass(frozen=True, slots=True, kw_only=True)
class TextEncoderConfig:
    """The language model, how many of its layers are trained, and the width of an item vector."""

    plm: str = "minilm"
    """A packaged name, a Hugging Face model, or a folder."""
    frozen_layers: int = 5
    """Lower layers that are not trained; their output is computed once per item and stored."""
    vector_width: int = 128
    """D: numbers in a compact vector."""
    projection_start: Literal["orthogonal", "principal"] = "orthogonal"
    """Initial projection: a random rotation, or the principal axes of the training items' text, centred. A PLM's
    vectors have a large common part, which training on few clicks does not remove (LOG.md)."""
    pooling_width: int = 128
    """Hidden width of the attention that pools tokens and segments."""

    bus: bool = False
    """Segments of one item attend to each other's first token in the trained layers (BusLM). One segment has no bus. A
    model not trained with it needs clicks to learn it: with one trained layer it gained nothing (LOG.md)."""

    keyword_frequency: bool = True
    """Refined text: add an embedding of each keyword's frequency in the text to the first trained layer's input."""

    row_tokens: int = 0
    """Items share rows of this many tokens, which saves padding: 128 on a GPU. 0 = each segment has its own row,
    padded to the longest."""

    attention_dropout: float | None = None
    """Dropout of attention weights. FlexAttention, for shared rows on a GPU, has none: 0. None = the model's own."""

    def __post_init__(self) -> None:
        if not 0 <= self.row_tokens <= LARGEST_ROW:
            raise ValueError(f"encoder.row_tokens is {self.row_tokens}: use 0, or 128 for rows that items share")
        if self.attention_dropout is not None and not 0 <= self.attention_dropout < 1:
            raise ValueError(f"encoder.attention_dropout is {self.attention_dropout}: use 0 up to 1")
        if self.frozen_layers < 0:
            raise ValueError(f"encoder.frozen_layers is {self.frozen_layers}: use 0 to train the entire PLM")
        for name in ("vector_width", "pooling_width"):
            if not 1 <= getattr(self, name) <= LARGEST_WIDTH:
                raise ValueError(f"encoder.{name} is {getattr(self, name)}: use 1 to {LARGEST_WIDTH}")


class TextEncoder(nn.Module):
    """Item rows (C,) -> vectors (C, D). Segments exchange information over the bus and are pooled."""

    def __init__(self, config: TextEncoderConfig) -> None:
        super().__init__()
        self.row_tokens = config.row_tokens
        plm = load_plm(config.plm, attention_dropout=config.attention_dropout)
        self.split = SplitEncoder(plm, frozen_layers=config.frozen_layers, bus=config.bus, packed=config.row_tokens > 0)
        self.frequency: nn.Embedding | None = None
        if config.keyword_frequency:
            self.frequency = nn.Embedding(FREQUENCIES, self.split.input_width, padding_idx=0)
            nn.init.zeros_(self.frequency.weight)
        self.token_pool: AdditiveAttention | LastToken = LastToken()
        if not self.split.causal:
            self.token_pool = AdditiveAttention(self.split.hidden, config.pooling_width)
        self.segment_pool = AdditiveAttention(self.split.hidden, config.pooling_width)
        self.project = nn.Linear(self.split.hidden, config.vector_width)
        # Orthogonal rows keep inner products, so that training starts from the PLM's own similarities.
        nn.init.orthogonal_(self.project.weight)
        nn.init.zeros_(self.project.bias)

    def forward(self, rows_C: IntArray, items: ItemInput) -> Tensor:
        """Vectors (C, D) of the item rows."""
        return self.vectors(self.inputs(rows_C, items))

    @torch.no_grad()
    def project_principal(self, pooled_NH: Tensor) -> None:
        """Sets the projection to the first D principal axes of `pooled_NH`, and the mean item's vector to 0.

        This keeps the inner products of the centred output and their scale, as far as D axes can.
        """
        mean_H = pooled_NH.double().mean(0)
        centred_NH = pooled_NH.double() - mean_H
        axis_HH = torch.linalg.eigh(centred_NH.T @ centred_NH).eigenvectors  # of rising variance
        axis_DH = axis_HH.T.flip(0)[: self.project.out_features]
        self.project.weight.copy_(axis_DH)
        self.project.bias.copy_(-(axis_DH @ mean_H))

    def pooled(self, rows_C: IntArray, items: ItemInput) -> Tensor:
        """Pooled PLM output (C, H), before the projection."""
        return self._pooled(self.inputs(rows_C, items))

    @property
    def layout(self) -> Layout:
        """What this encoder reads of its items."""
        return Layout(
            row_tokens=self.row_tokens,
            frozen=self.split.frozen_layers > 0,
            frequencies=self.frequency is not None,
            positions=self.split.relative,
        )

    def inputs(self, rows_C: IntArray, items: ItemInput) -> EncoderInput:
        """The items as tensors on their device, in the smallest form that holds them."""
        arrays = chunk_arrays(rows_C, items, self.layout).arrays
        return self.given({name: on_device(array, items.device) for name, array in arrays.items()}, items)

    def given(self, tensors: Mapping[str, Tensor], items: ItemInput) -> EncoderInput:
        """The result of `chunk_arrays`, on the device, as the input of `vectors`."""
        packed = "slot_CST" in tensors
        return EncoderInput(
            self._layer_input(tensors, items),
            tensors["mask_CST"],
            tensors["segment_mask_CS"],
            tensors.get("frequency_XT"),
            tensors.get("keyword_position_XT"),
            self.split.packed_attention(RowMaps.from_arrays(tensors)) if packed else None,
            tensors.get("slot_CST"),
        )

    def _layer_input(self, tensors: Mapping[str, Tensor], items: ItemInput) -> Tensor:
        """The first trained layer's input: token ids XT, or the frozen layers' output XTH.

        Output that is not stored is computed and rounded as the store rounds it.
        """
        dtype = self.project.weight.dtype
        if not self.split.frozen_layers:
            return tensors["ids_XT"]
        if "stored_XTH" in tensors:
            return tensors["stored_XTH"].to(dtype)
        if "token_XT" in tensors:
            return items.stored(tensors["token_XT"], dtype)
        hidden_CTH = self.split.lower(tensors["lower_ids_CT"], tensors["mask_CST"].flatten(0, 1)).half().to(dtype)
        return hidden_CTH.flatten(0, 1)[tensors["source_XT"]]

    def vectors(self, given: EncoderInput) -> Tensor:
        """Vectors (C, D) of the result of `inputs`. Takes tensors only, so that it can be compiled."""
        vector_CD: Tensor = self.project(self._pooled(given))
        return vector_CD

    def _pooled(self, given: EncoderInput) -> Tensor:
        hidden_CTH = self._hidden(given)
        mask_CT = given.mask_CST.flatten(0, 1)
        segment_CSH: Tensor = self.token_pool(hidden_CTH, mask_CT).unflatten(0, given.segment_mask_CS.shape)
        if segment_CSH.shape[1] == 1:
            return segment_CSH[:, 0]
        pooled_CH: Tensor = self.segment_pool(segment_CSH, given.segment_mask_CS)
        return pooled_CH

    def _hidden(self, given: EncoderInput) -> Tensor:
        """Output of the trained layers for each segment (C*S, T, H)."""
        added = None
        if self.frequency is not None and given.frequency_XT is not None:
            added = self.frequency(given.frequency_XT)
        if given.context is None or given.slot_CST is None:
            mask_CT = given.mask_CST.flatten(0, 1)
            return cast(
                Tensor,
                self.split(
                    given.input_XT, mask_CT, given.segment_mask_CS, added_CTH=added, position_CT=given.position_XT
                ),
            )
        hidden_RWH = self.split.packed(given.input_XT, given.context, added_RWH=added, position_RW=given.position_XT)
        zero_H = hidden_RWH.new_zeros(1, hidden_RWH.shape[-1])  # read by slots without a token
        slots_H = torch.cat([hidden_RWH.flatten(0, 1), zero_H])
        return embedding(given.slot_CST.flatten(0, 1), slots_H, padding_idx=len(slots_H) - 1)
