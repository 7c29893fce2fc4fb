"""prepare: packed directory + config -> model and item inputs on a device, the frozen layers' output at hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from schemas.errors import InputError
from trainer.config import TrainConfig
from trainer.data.backends import BACKENDS
from trainer.data.directory import PackedDirectory
from trainer.data.position import Order
from trainer.data.reader import Reader
from trainer.loop.frozen_store import frozen_store, rows_needed
from trainer.model.item_input import ItemInput
from trainer.model.text_encoder import TextEncoder
from trainer.tasks.ranking import RankingHead

DeviceName = Literal["auto", "cpu", "cuda"]
Told = Callable[[int, int], None]  # (rows done, rows in all)


@dataclass(frozen=True, slots=True)
class Prepared:
    """What training, evaluation and benchmarks all start from."""

    config: TrainConfig
    directory: PackedDirectory
    model: nn.ModuleDict
    items: ItemInput
    device: torch.device
    clicks_V: NDArray[np.int64]

    @property
    def encoder(self) -> TextEncoder:
        """The text encoder of the model."""
        return cast(TextEncoder, self.model["encoder"])

    @property
    def head(self) -> RankingHead:
        """The task head of the model."""
        return cast(RankingHead, self.model["head"])


def device_of(name: DeviceName) -> torch.device:
    """The device named; `auto` takes a GPU where there is one. InputError if there is none."""
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError("--device cuda, but torch sees no GPU here: use --device cpu or auto")
    return torch.device("cuda" if name == "cuda" or (name == "auto" and torch.cuda.is_available()) else "cpu")


def build_model(config: TrainConfig) -> nn.ModuleDict:
    """Untrained text encoder and task head, drawn from the run's seed."""
    torch.manual_seed(config.run.seed)
    encoder = TextEncoder(config.encoder)
    head = RankingHead(config.user, vector_width=config.encoder.vector_width)
    return nn.ModuleDict({"encoder": encoder, "head": head})


def clicks_per_row(directory: PackedDirectory, config: TrainConfig) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(clicks of each item row in the training trajectories, the item rows that batches hold)."""
    clicks_V = np.zeros(directory.manifest.tokens.rows, np.int64)
    seen_V = np.zeros(len(clicks_V), np.bool_)
    order = Order(seed=config.run.seed, batches_per_step=1)
    for batches in Reader(directory, order, BACKENDS[config.run.reader]).steps(0):
        for batch in batches:
            np.add.at(clicks_V, batch.ask_M[batch.click_slot_BL[batch.click_mask_BL]], 1)
            seen_V[batch.ask_M] = True
    return clicks_V, np.flatnonzero(seen_V)


def prepare(config: TrainConfig, data: Path, *, store: Path | None, device: torch.device, told: Told) -> Prepared:
    """Open `data`, load the PLM, fill or find the store of frozen output (by default the folder `<data>.frozen`)."""
    directory = PackedDirectory.open(data)
    model = build_model(config)
    encoder = cast(TextEncoder, model["encoder"])
    encoder.split.to_device(device)
    clicks_V, batch_rows = clicks_per_row(directory, config)
    stored = None
    if config.encoder.frozen_layers:
        rows = rows_needed(directory, batch_rows)
        folder = store or data.with_name(f"{data.name}.frozen")
        stored = frozen_store(
            encoder.split, directory, folder, rows=rows, device=device, told=lambda done: told(done, len(rows))
        )
    items = ItemInput(directory.token_table(), device=device, store_H=stored)
    return Prepared(config, directory, model.to(device), items, device, clicks_V)
