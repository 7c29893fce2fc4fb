"""Prepares random trajectories and a language model with random weights for the real trainer."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import cast, get_args

import numpy as np

from jobs.bench.drawn_directory import DrawnConfig, drawn_directory
from trainer.config import TrainConfig
from trainer.cost.encoder_speed import random_plm, title_lengths
from trainer.cost.precision import AskedPrecision
from trainer.encode.policies import PlannerConfig
from trainer.model.text_encoder import TextEncoderConfig
from trainer.run_config import RunConfig
from trainer.setup.automatic import DeviceName, device_of
from trainer.setup.prepare import Prepared, prepare


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """Model and computation options, the same for everything that a benchmark compares."""

    size: str = "tiny"
    """tiny, minilm or base: the encoder's shape; random weights cost the same time as trained ones"""
    frozen_layers: int = 0
    """number of lower layers that are not trained"""
    chunk_size: int = 0
    """items that are encoded together; the remaining items are encoded in chunks of a quarter of it; 0 = both sizes as
    training chooses them for the device"""
    precision: str = "auto"
    """number format of the encoder's products: float32, bfloat16 (master weights stay float32), or auto, as training
    chooses it for the device"""
    compiled: bool = False
    """compile the encoder with torch.compile"""
    row_tokens: int = 0
    """items share rows of this number of tokens; 0 = one padded row per item"""
    attention_dropout: float = -1.0
    """dropout of attention weights; use 0 for shared rows on a GPU; -1 = as in the model"""
    seed: int = 1
    """seed of data, weights and dropout"""

    def training(self, plm: Path) -> TrainConfig:
        """The training options, with the language model in the folder `plm`."""
        if self.precision not in get_args(AskedPrecision):
            raise ValueError(f"--precision is {self.precision!r}: use {', '.join(get_args(AskedPrecision))}")
        sizes = (self.chunk_size, max(1, self.chunk_size // 4)) if self.chunk_size else None
        return TrainConfig(
            run=RunConfig(
                reader="arrow",
                seed=self.seed,
                precision=cast(AskedPrecision, self.precision),
                compile=self.compiled,
            ),
            encoder=TextEncoderConfig(
                plm=str(plm),
                frozen_layers=self.frozen_layers,
                row_tokens=self.row_tokens,
                attention_dropout=None if self.attention_dropout < 0 else self.attention_dropout,
            ),
            planner=PlannerConfig(chunk_sizes=sizes),
        )


def drawn_files(folder: Path, model: ModelConfig, drawn: DrawnConfig) -> tuple[TrainConfig, Path]:
    """(training options, packed directory): the random data and model, written to `folder` unless they exist."""
    data, plm = folder / f"packed-{drawn.trajectories}-{drawn.items}", folder / "plm"
    if not plm.exists():
        random_plm(plm, model.size, seed=model.seed)
    if not data.exists():
        length_V = title_lengths(np.random.default_rng(model.seed), drawn.items, longest=drawn.tokens)
        drawn_directory(data, drawn, length_V)
    return model.training(plm), data


def prepared_run(folder: Path, model: ModelConfig, drawn: DrawnConfig, where: DeviceName) -> Prepared:
    """Write the random data and model to `folder` unless they exist, and prepare the run on the device."""
    training, data = drawn_files(folder, model, drawn)
    return prepare(training, data, store=None, device=device_of(where), progress=lambda *_: None)
