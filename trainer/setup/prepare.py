"""Prepares a run: packed directory + config -> model and item inputs on a device, frozen layers' output loaded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from trainer.checkpoint.files import Checkpoint, ResumeError, checkpoint_errors
from trainer.config import TrainConfig
from trainer.cost.memory import bytes_between_steps
from trainer.cost.precision import AskedPrecision, use_tensor_cores
from trainer.data.directory import Packed, PackedDirectory
from trainer.encode.policies import WAITING_POLICIES
from trainer.model.frozen import weights_sha256
from trainer.model.half_copy import half_copy
from trainer.model.item_input import ItemInput
from trainer.model.split_encoder import SplitEncoder
from trainer.model.text_encoder import TextEncoder
from trainer.ranks.process_group import ALONE, Ranks, leader_first
from trainer.setup.automatic import in_precision, resolved_alone
from trainer.setup.encoder_trial import TrialRequest, try_encoder
from trainer.setup.frozen_store import found_store, frozen_store, rows_needed
from trainer.setup.item_rows import clicks_per_row
from trainer.setup.token_check import check_tokens
from trainer.tasks.ranking import RankingHead

Progress = Callable[[int, int], None]  # (rows done, rows in all)


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """The common start of training, evaluation and benchmarks: config, data, model, device."""

    config: TrainConfig
    directory: PackedDirectory
    model: nn.ModuleDict
    items: ItemInput
    device: torch.device
    clicks_V: NDArray[np.int64]
    """clicks in the training trajectories"""
    trained_V: NDArray[np.bool_]
    """whether an item occurs in any training batch"""
    unused_parameters: tuple[str, ...] = ()
    """names of the language model's parameters that no gradient reaches; known when it is prepared for training"""
    few_forms: bool = False
    """chunks have few shapes: for a GPU, whose memory and kernels are then reused, or a compiler"""

    @property
    def encoder(self) -> TextEncoder:
        """The text encoder of the model."""
        return cast(TextEncoder, self.model["encoder"])

    def vector_encoder(self) -> TextEncoder:
        """The text encoder in the run's precision, as of now: for vectors that are not trained."""
        return half_copy(self.encoder) if self.config.run.precision == "bfloat16" else self.encoder

    @property
    def head(self) -> RankingHead:
        """The task head of the model."""
        return cast(RankingHead, self.model["head"])


def build_model(config: TrainConfig) -> nn.ModuleDict:
    """Untrained text encoder and task head, drawn from the run's seed."""
    torch.manual_seed(config.run.seed)
    encoder = TextEncoder(config.encoder)
    head = RankingHead(config.user, vector_width=config.encoder.vector_width)
    return nn.ModuleDict({"encoder": encoder, "head": head})


def short_superblocks(prepared: Prepared) -> str | None:
    """A hint if superblocks are shorter than the life of cached vectors, so that larger ones would save encodes."""
    planner, per_step = prepared.config.planner, prepared.config.run.batches_per_step
    life = (planner.max_age_steps + 1) * per_step
    packed = prepared.directory.manifest.config.get("superblock_batches", life)
    if planner.policy != "cached" or packed >= life:
        return None
    return (
        f"superblocks hold {packed} batches, and a cached vector lives for {life}: fewer would be encoded from a "
        f"directory packed with --superblock-batches {life}"
    )


def prepare_again(
    checkpoint: Checkpoint,
    data: Packed | Path,
    *,
    store: Path | None,
    device: torch.device,
    precision: AskedPrecision = "auto",
    ranks: Ranks = ALONE,
) -> Prepared:
    """`data` prepared with the checkpoint's own config; the weights are still untrained."""
    config = in_precision(config_of(checkpoint), precision, device)
    return prepare(config, data, store=store, device=device, progress=lambda *_: None, ranks=ranks)


def config_of(checkpoint: Checkpoint) -> TrainConfig:
    """The config that trained the checkpoint; ResumeError if it is not of this version."""
    with checkpoint_errors(checkpoint.path):
        return TrainConfig.from_dict(dict(checkpoint.state["config"]))


def load_weights(model: nn.ModuleDict, checkpoint: Checkpoint) -> None:
    """Load a checkpoint's weights into the model; ResumeError unless they were trained on the same frozen layers."""
    split = cast(TextEncoder, model["encoder"]).split
    with checkpoint_errors(checkpoint.path):
        if checkpoint.state["frozen_sha256"] != weights_sha256(split):
            raise ResumeError("the checkpoint was trained on another language model than this plm now is. Train again")
        try:
            model.load_state_dict(dict(checkpoint.tensors["model"]))
        except RuntimeError as error:
            reason = str(error).splitlines()[-1]
            raise ResumeError(f"the checkpoint's weights do not fit its config: {reason}") from error


def prepare(
    config: TrainConfig,
    data: Packed | Path,
    *,
    store: Path | None,
    device: torch.device,
    progress: Progress,
    ranks: Ranks = ALONE,
) -> Prepared:
    """Open `data`, load and try the language model, fill or open the store of frozen output (by default
    `<data>.frozen`; for data behind a URL in the cache). Ranks wait for each other only there: the leader fills it."""
    config = resolved_alone(config, device)
    use_tensor_cores(device)
    directory, model, split = _opened(config, data)
    clicks_V, batch_rows = clicks_per_row(directory, config)
    asked = TrialRequest(
        encoder=config.encoder,
        tokens_per_segment=directory.manifest.tokens.tokens_per_segment,
        half=config.run.precision == "bfloat16",
        compiled=config.run.compile,
    )
    unused = try_encoder(cast(TextEncoder, model["encoder"]), asked, directory.token_table(), batch_rows)
    split.to_device(device)
    stored = None
    if split.frozen_layers:
        rows = rows_needed(directory, batch_rows)
        folder = store or directory.derived_folder
        with leader_first(ranks):
            stored = frozen_store(
                split,
                directory,
                folder,
                rows=rows,
                device=device,
                reserved=_bytes_reserved(config, directory, model),
                progress=lambda done: progress(done, len(rows)),
            )
    model = model.to(device)
    found = _prepared(config, directory, model, device=device, stored=stored, clicks_V=clicks_V, batch_rows=batch_rows)
    return replace(found, unused_parameters=unused, few_forms=device.type == "cuda" or config.run.compile)


def prepare_to_encode(
    checkpoint: Checkpoint,
    data: Packed | Path,
    *,
    store: Path | None,
    device: torch.device,
    precision: AskedPrecision = "auto",
) -> tuple[Prepared, NDArray[np.int64]]:
    """(the checkpoint's weights on `data`, the item rows whose frozen output is stored); writes nothing."""
    config = in_precision(config_of(checkpoint), precision, device)
    directory, model, split = _opened(config, data)
    load_weights(model, checkpoint)
    split.to_device(device)
    clicks_V, batch_rows = clicks_per_row(directory, config)
    rows, stored = np.zeros(0, np.int64), None
    if split.frozen_layers:
        needed = rows_needed(directory, batch_rows)
        stored = found_store(split, directory, store or directory.derived_folder, rows=needed, device=device)
        rows = rows if stored is None else needed
    model = model.to(device).eval()
    found = _prepared(config, directory, model, device=device, stored=stored, clicks_V=clicks_V, batch_rows=batch_rows)
    return found, rows


def _prepared(
    config: TrainConfig,
    directory: PackedDirectory,
    model: nn.ModuleDict,
    *,
    device: torch.device,
    stored: Tensor | None,
    clicks_V: NDArray[np.int64],
    batch_rows: NDArray[np.int64],
) -> Prepared:
    """`model` is on the device already. `batch_rows`: item rows that batches hold."""
    return Prepared(
        config=config,
        directory=directory,
        model=model,
        items=ItemInput(directory.token_table(), device=device, store_H=stored),
        device=device,
        clicks_V=clicks_V,
        trained_V=np.isin(np.arange(len(clicks_V)), batch_rows),
    )


def _bytes_reserved(config: TrainConfig, directory: PackedDirectory, model: nn.ModuleDict) -> int:
    """Device bytes that training takes in addition to the frozen layers' output, without those of its steps."""
    return bytes_between_steps(
        model,
        vectors=directory.manifest.tokens.rows * config.encoder.vector_width,
        half=config.run.precision == "bfloat16",
        waits=config.planner.policy in WAITING_POLICIES,
    )


def _opened(config: TrainConfig, data: Packed | Path) -> tuple[PackedDirectory, nn.ModuleDict, SplitEncoder]:
    """The directory, an untrained model for its tokens, and the model's language model."""
    packed = Packed.of(data)
    directory = PackedDirectory.open(replace(packed, place=packed.place.resolve()))
    model = build_model(config)
    split = cast(TextEncoder, model["encoder"]).split
    check_tokens(directory.manifest, config.encoder.plm, split)
    return directory, model, split
