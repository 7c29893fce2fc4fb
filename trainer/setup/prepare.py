"""Prepares a run: packed directory + config -> model and item inputs on a device, frozen layers' output loaded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from schemas.errors import InputError
from trainer.checkpoint.files import Checkpoint, ResumeError, checkpoint_errors
from trainer.checkpoint.retention import Checkpoints
from trainer.config import TrainConfig
from trainer.cost.memory import bytes_between_steps
from trainer.cost.precision import AskedPrecision, multiplies_bfloat16, resolved, use_tensor_cores
from trainer.data.directory import Packed, PackedDirectory
from trainer.encode.policies import CPU_CHUNK_SIZES, GPU_CHUNK_SIZES, WAITING_POLICIES
from trainer.model.frozen import weights_sha256
from trainer.model.half_copy import half_copy
from trainer.model.item_input import ItemInput
from trainer.model.split_encoder import SplitEncoder
from trainer.model.text_encoder import TextEncoder
from trainer.ranks.process_group import ALONE, Ranks, leader_first, summed
from trainer.setup.encoder_trial import TrialRequest, try_encoder
from trainer.setup.frozen_store import found_store, frozen_store, rows_needed
from trainer.setup.item_rows import clicks_per_row
from trainer.setup.token_check import check_tokens
from trainer.tasks.ranking import RankingHead

DeviceName = Literal["auto", "cpu", "cuda"]
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


def device_of(name: DeviceName) -> torch.device:
    """The named device; `auto` takes a GPU if there is one. InputError for `cuda` without a GPU."""
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError("--device cuda, but torch sees no GPU here: use --device cpu or auto")
    return torch.device("cuda" if name == "cuda" or (name == "auto" and torch.cuda.is_available()) else "cpu")


def resolve_for_device(config: TrainConfig, device: torch.device, ranks: Ranks, *, begun: Path | None) -> TrainConfig:
    """The config with run.precision `auto`, planner.chunk_sizes None and run.streams 0 resolved: to those of the
    checkpoints in the folder `begun`, or else by the device and the number of ranks; bfloat16 only if the devices of
    all ranks take it. All ranks must call this."""
    state = Checkpoints(begun, config.run.keep_checkpoints).newest_state() if begun else None
    if state is not None:
        with checkpoint_errors(begun):
            config = _resolved(config, like=TrainConfig.from_dict(dict(state["config"])))
    half = summed([float(resolved(config.run.precision, device) == "bfloat16")])[0] == ranks.world
    return _resolved(config, like=_of_device(config, device, half=half, world=ranks.world))


def _of_device(config: TrainConfig, device: torch.device, *, half: bool, world: int) -> TrainConfig:
    streams = 1 if config.planner.share_encoding else min(world, config.run.batches_per_step)  # one cache or several
    sizes = GPU_CHUNK_SIZES if device.type == "cuda" else CPU_CHUNK_SIZES
    return replace(
        config,
        run=replace(config.run, precision="bfloat16" if half else "float32", streams=streams),
        planner=replace(config.planner, chunk_sizes=sizes),
    )


def _resolved(config: TrainConfig, *, like: TrainConfig) -> TrainConfig:
    """The config; where it leaves something to the device and the ranks, as `like` has it."""
    streams = min(config.run.streams or like.run.streams, config.run.batches_per_step)
    precision = like.run.precision if config.run.precision == "auto" else config.run.precision
    sizes = like.planner.chunk_sizes if config.planner.chunk_sizes is None else config.planner.chunk_sizes
    return replace(
        config,
        run=replace(config.run, precision=precision, streams=streams),
        planner=replace(config.planner, chunk_sizes=sizes),
    )


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
    config = _in_precision(config_of(checkpoint), precision, device)
    return prepare(config, data, store=store, device=device, progress=lambda *_: None, ranks=ranks)


def _in_precision(trained: TrainConfig, precision: AskedPrecision, device: torch.device) -> TrainConfig:
    """The config with `precision`; auto = that of training where the device multiplies it, else float32."""
    if precision == "auto":
        able = trained.run.precision != "bfloat16" or multiplies_bfloat16(device)
        precision = trained.run.precision if able else "float32"
    return replace(trained, run=replace(trained.run, precision=precision))


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
    half = resolved(config.run.precision, device) == "bfloat16"
    config = _resolved(config, like=_of_device(config, device, half=half, world=1))
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
    config = _in_precision(config_of(checkpoint), precision, device)
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
