"""TextEncoder: token segments -> item vectors: attention over tokens, then over segments, then a linear layer."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from trainer.model.attention_pool import AdditiveAttention
from trainer.model.item_input import FREQUENCIES, ItemInput
from trainer.model.pretrained import SplitEncoder, load_plm


@dataclass(frozen=True, slots=True, kw_only=True)
class TextEncoderConfig:
    """Which language model, how much of it is trained, how compact a vector is."""

    plm: str = "minilm"
    """A packaged name, a Hugging Face model, or a folder."""
    frozen_layers: int = 5
    """Lower layers that are not trained; their output is computed once per item and stored."""
    vector_width: int = 128
    """D: numbers in a compact vector."""
    pooling_width: int = 128
    """Hidden width of the attention that pools tokens and segments."""

    bus: bool = False
    """Segments of one item hear each other's first token in the trained layers (BusLM). One segment has no bus. A model
    that was not trained with it needs clicks to learn it: with one trained layer it won nothing (LOG.md)."""

    keyword_frequency: bool = True
    """Refined text: how often a keyword stood in the text is told to the first trained layer."""

    def __post_init__(self) -> None:
        if self.frozen_layers < 0:
            raise ValueError(f"encoder.frozen_layers is {self.frozen_layers}: use 0 to train the whole PLM")
        if min(self.vector_width, self.pooling_width) < 1:
            raise ValueError("encoder.vector_width and encoder.pooling_width must be 1 or more")


class TextEncoder(nn.Module):
    """Item rows (C,) -> vectors (C, D). Segments hear each other on the bus, and meet in the pooling."""

    def __init__(self, config: TextEncoderConfig) -> None:
        super().__init__()
        self.split = SplitEncoder(load_plm(config.plm), frozen_layers=config.frozen_layers, bus=config.bus)
        self.frequency: nn.Embedding | None = None
        if config.keyword_frequency:
            self.frequency = nn.Embedding(FREQUENCIES, self.split.input_width, padding_idx=0)
            nn.init.zeros_(self.frequency.weight)
        self.token_pool = AdditiveAttention(self.split.hidden, config.pooling_width)
        self.segment_pool = AdditiveAttention(self.split.hidden, config.pooling_width)
        self.project = nn.Linear(self.split.hidden, config.vector_width)
        # Orthogonal rows keep inner products, so that training starts from the PLM's own notion of likeness.
        nn.init.orthogonal_(self.project.weight)
        nn.init.zeros_(self.project.bias)

    def forward(self, row_C: Tensor, items: ItemInput) -> Tensor:
        """Vectors (C, D) of the item rows."""
        vector_CD: Tensor = self.project(self.pooled(row_C, items))
        return vector_CD

    def pooled(self, row_C: Tensor, items: ItemInput) -> Tensor:
        """Pooled PLM output (C, H), before the projection."""
        segments = items.segments(row_C)
        frozen = self.split.frozen_layers > 0
        input_CST = items.stored(segments, self.project.weight.dtype) if frozen else items.ids(segments)
        mask_CT = segments.mask_CST.flatten(0, 1)
        hidden_CTH = self.split(
            input_CST.flatten(0, 1),
            mask_CT,
            segments.segment_mask_CS,
            added_CTH=self._of_keywords(items.frequencies(segments)),
            position_CT=None if (position_CST := items.positions(segments)) is None else position_CST.flatten(0, 1),
        )
        segment_CSH: Tensor = self.token_pool(hidden_CTH, mask_CT).unflatten(0, segments.segment_mask_CS.shape)
        if segment_CSH.shape[1] == 1:
            return segment_CSH[:, 0]
        pooled_CH: Tensor = self.segment_pool(segment_CSH, segments.segment_mask_CS)
        return pooled_CH

    def _of_keywords(self, frequency_CST: Tensor | None) -> Tensor | None:
        if self.frequency is None or frequency_CST is None:
            return None
        added_CTH: Tensor = self.frequency(frequency_CST.flatten(0, 1))
        return added_CTH
