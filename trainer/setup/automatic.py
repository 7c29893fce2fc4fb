"""Resolves options that a config leaves to the device, the number of ranks, or the run's own earlier checkpoint."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch

from schemas.errors import InputError
from trainer.checkpoint.files import checkpoint_errors
from trainer.checkpoint.retention import Checkpoints
from trainer.config import TrainConfig
from trainer.cost.precision import AskedPrecision, multiplies_bfloat16, resolved
from trainer.encode.policies import CPU_CHUNK_SIZES, GPU_CHUNK_SIZES
from trainer.ranks.process_group import Ranks, summed

DeviceName = Literal["auto", "cpu", "cuda"]


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodeConfig:
    """Where and in what precision vectors are encoded."""

    device: DeviceName = "auto"  # Where to encode
    precision: AskedPrecision = "auto"  # auto: as the checkpoint was trained, if the device multiplies it


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


def resolved_alone(config: TrainConfig, device: torch.device) -> TrainConfig:
    """The same for one process and a run without checkpoints."""
    half = resolved(config.run.precision, device) == "bfloat16"
    return _resolved(config, like=_of_device(config, device, half=half, world=1))


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


def in_precision(trained: TrainConfig, precision: AskedPrecision, device: torch.device) -> TrainConfig:
    """The config with `precision`; auto = that of training where the device multiplies it, else float32."""
    if precision == "auto":
        able = trained.run.precision != "bfloat16" or multiplies_bfloat16(device)
        precision = trained.run.precision if able else "float32"
    return replace(trained, run=replace(trained.run, precision=precision))
