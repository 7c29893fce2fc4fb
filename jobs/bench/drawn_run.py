"""Drawn run: random trajectories and a language model with random weights, prepared for the real trainer."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from jobs.bench.drawn_directory import DrawnConfig, drawn_directory
from trainer.config import TrainConfig
from trainer.cost.encoder_speed import random_plm, title_lengths
from trainer.encode.policies import PlannerConfig
from trainer.model.text_encoder import TextEncoderConfig
from trainer.run_config import RunConfig
from trainer.setup.prepare import DeviceName, Prepared, device_of, prepare


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """The model, and how it is computed: the same for all that a benchmark compares."""

    size: str = "tiny"
    """tiny, minilm or base: the encoder's shape; its weights are random, which costs the same"""
    frozen_layers: int = 0
    """lower layers that are not trained"""
    chunk_size: int = 128
    """items that are encoded together, and a quarter of it for what is left over"""
    bfloat16: bool = False
    """multiply in bfloat16, with float32 weights"""
    compiled: bool = False
    """torch.compile the encoder"""
    row_tokens: int = 0
    """items share rows of so many tokens; 0 = a row for each, padded"""
    attention_dropout: float = -1.0
    """of attention weights; shared rows on a GPU want 0; -1 = the model's own"""
    seed: int = 1
    """decides data, weights and dropout"""

    def training(self, plm: Path) -> TrainConfig:
        """Of one epoch, with the language model in the folder `plm`."""
        sizes = (self.chunk_size, max(1, self.chunk_size // 4))
        precision: Literal["bfloat16", "float32"] = "bfloat16" if self.bfloat16 else "float32"
        return TrainConfig(
            run=RunConfig(reader="arrow", seed=self.seed, precision=precision, compile=self.compiled),
            encoder=TextEncoderConfig(
                plm=str(plm),
                frozen_layers=self.frozen_layers,
                row_tokens=self.row_tokens,
                attention_dropout=None if self.attention_dropout < 0 else self.attention_dropout,
            ),
            planner=PlannerConfig(chunk_sizes=sizes),
        )


def prepared_run(folder: Path, model: ModelConfig, drawn: DrawnConfig, where: DeviceName) -> Prepared:
    """Draw and write what is not yet in `folder`, and prepare it on the device."""
    data, plm = folder / f"packed-{drawn.trajectories}-{drawn.items}", folder / "plm"
    if not plm.exists():
        random_plm(plm, model.size, seed=model.seed)
    if not data.exists():
        length_V = title_lengths(np.random.default_rng(model.seed), drawn.items, longest=drawn.tokens)
        drawn_directory(data, drawn, length_V)
    return prepare(model.training(plm), data, store=None, device=device_of(where), progress=lambda *_: None)
