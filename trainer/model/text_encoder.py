"""TextEncoder: token segments -> item vectors: attention over tokens, then over segments, then a linear layer.

Of a decoder, a segment is its last real token: none before it has seen all of the text.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding

from trainer.model.attention_pool import AdditiveAttention, LastToken
from trainer.model.item_input import FREQUENCIES, ItemInput, Segments
from trainer.model.packed_rows import IntArray, PackedSegments
from trainer.model.pretrained import load_plm
from trainer.model.split_encoder import SplitEncoder

LARGEST_WIDTH = 1 << 14  # the table of vectors holds one for each item
LARGEST_ROW = 1 << 13  # tokens; attention grows with their square


@dataclass(frozen=True, slots=True, kw_only=True)
class TextEncoderConfig:
    """Which language model, how much of it is trained, how compact a vector is."""

    plm: str = "minilm"
    """A packaged name, a Hugging Face model, or a folder."""
    frozen_layers: int = 5
    """Lower layers that are not trained; their output is computed once per item and stored."""
    vector_width: int = 128
    """D: numbers in a compact vector."""
    projection_start: Literal["orthogonal", "principal"] = "orthogonal"
    """How the projection begins: a random rotation, or the principal axes of the training items' text, centred. A PLM's
    vectors share much that tells no item from another, and with few clicks training does not take it out (LOG.md)."""
    pooling_width: int = 128
    """Hidden width of the attention that pools tokens and segments."""

    bus: bool = False
    """Segments of one item hear each other's first token in the trained layers (BusLM). One segment has no bus. A model
    that was not trained with it needs clicks to learn it: with one trained layer it won nothing (LOG.md)."""

    keyword_frequency: bool = True
    """Refined text: how often a keyword stood in the text is told to the first trained layer."""

    row_tokens: int = 0
    """Items share rows of so many tokens, so that padding costs nothing: 128 on a GPU. 0 = each segment a row of its
    own, padded to the longest."""

    attention_dropout: float | None = None
    """Dropout of attention weights. FlexAttention, for shared rows on a GPU, has none: 0. None = the model's own."""

    def __post_init__(self) -> None:
        if not 0 <= self.row_tokens <= LARGEST_ROW:
            raise ValueError(f"encoder.row_tokens is {self.row_tokens}: use 0, or 128 for rows that items share")
        if self.attention_dropout is not None and not 0 <= self.attention_dropout < 1:
            raise ValueError(f"encoder.attention_dropout is {self.attention_dropout}: use 0 up to 1")
        if self.frozen_layers < 0:
            raise ValueError(f"encoder.frozen_layers is {self.frozen_layers}: use 0 to train the whole PLM")
        for name in ("vector_width", "pooling_width"):
            if not 1 <= getattr(self, name) <= LARGEST_WIDTH:
                raise ValueError(f"encoder.{name} is {getattr(self, name)}: use 1 to {LARGEST_WIDTH}")


class EncoderInput(NamedTuple):
    """What of C items enters the trained layers: all that `TextEncoder.vectors` needs, whatever the items are.

    X, T are rows and tokens: the padded form (C*S, T), or packed rows (R, W) with `heard` and `slot_CST`.
    """

    input_XT: Tensor
    mask_CST: Tensor
    segment_mask_CS: Tensor
    frequency_XT: Tensor | None
    position_XT: Tensor | None
    heard: PackedSegments | None
    slot_CST: Tensor | None


class TextEncoder(nn.Module):
    """Item rows (C,) -> vectors (C, D). Segments hear each other on the bus, and meet in the pooling."""

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
        # Orthogonal rows keep inner products, so that training starts from the PLM's own notion of likeness.
        nn.init.orthogonal_(self.project.weight)
        nn.init.zeros_(self.project.bias)

    def forward(self, rows_C: IntArray, items: ItemInput) -> Tensor:
        """Vectors (C, D) of the item rows."""
        return self.vectors(self.inputs(rows_C, items))

    @torch.no_grad()
    def project_principal(self, pooled_NH: Tensor) -> None:
        """Let the projection be `pooled_NH`'s first D principal axes, and the mean item's vector 0.

        Inner products of the centred output are kept as far as D axes can, and so is their scale.
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

    def inputs(self, rows_C: IntArray, items: ItemInput, *, shape_steps: int = 1) -> EncoderInput:
        """The items as tensors. `shape_steps` > 1: their shapes are one of few, for a compiler."""
        shape = items.shape(rows_C, steps=shape_steps)
        if self.row_tokens:
            segments = items.packed(rows_C, self.row_tokens, shape, self._multiple(len(rows_C), shape, shape_steps))
        else:
            segments = items.segments(rows_C, shape)
        heard = None
        if segments.source_RW is not None:
            heard = self.split.sharing_rows(segments.source_RW, segments=shape[0], longest=shape[1])
        return EncoderInput(
            self._entering(rows_C, items, segments, shape),
            segments.mask_CST,
            segments.segment_mask_CS,
            None if self.frequency is None else items.frequencies(segments),
            items.positions(segments),
            heard,
            segments.slot_CST,
        )

    def computed_shape(self, rows_C: IntArray, items: ItemInput, *, shape_steps: int = 1) -> tuple[int, int]:
        """(rows, tokens of each) that `inputs` makes of the items, from integers on the host alone."""
        shape = items.shape(rows_C, steps=shape_steps)
        if not self.row_tokens:
            return len(rows_C) * shape[0], shape[1]
        multiple = self._multiple(len(rows_C), shape, shape_steps)
        rows, width = items.packing(rows_C, self.row_tokens, shape, multiple).source_RW.shape
        return rows, width

    def _multiple(self, items: int, shape: tuple[int, int], shape_steps: int) -> int:
        """Of what the number of shared rows is a multiple: for a compiler, an eighth of the padded form's tokens."""
        return 1 if shape_steps == 1 else max(1, items * shape[0] * shape[1] // (8 * self.row_tokens))

    def _entering(self, rows_C: IntArray, items: ItemInput, segments: Segments, shape: tuple[int, int]) -> Tensor:
        """What the first trained layer reads: token ids XT, or the frozen layers' output XTH.

        Where that is not stored it is computed, and rounded as the store rounds it.
        """
        dtype = self.project.weight.dtype
        if not self.split.frozen_layers:
            return items.ids(segments)
        if items.store_H is not None:
            return items.stored(segments, dtype)
        padded = items.segments(rows_C, shape)
        hidden_CTH = self.split.lower(items.ids(padded), padded.mask_CST.flatten(0, 1)).half().to(dtype)
        if segments.source_RW is None:
            return hidden_CTH
        return hidden_CTH.flatten(0, 1)[segments.source_RW.clamp(min=0)]

    def vectors(self, given: EncoderInput) -> Tensor:
        """Vectors (C, D) of what `inputs` made: tensors alone, so that it can be compiled."""
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
        if given.heard is None or given.slot_CST is None:
            mask_CT = given.mask_CST.flatten(0, 1)
            return cast(
                Tensor,
                self.split(
                    given.input_XT, mask_CT, given.segment_mask_CS, added_CTH=added, position_CT=given.position_XT
                ),
            )
        hidden_RWH = self.split.packed(given.input_XT, given.heard, added_RWH=added, position_RW=given.position_XT)
        nothing_H = hidden_RWH.new_zeros(1, hidden_RWH.shape[-1])  # what slots without a token read
        slots_H = torch.cat([hidden_RWH.flatten(0, 1), nothing_H])
        return embedding(given.slot_CST.flatten(0, 1), slots_H, padding_idx=len(slots_H) - 1)
