"""Checkpoints: a directory renamed once complete, safetensors and JSON only, so that loading one cannot run code."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from schemas.errors import InputError
from trainer.loop.distributed import ALONE, Ranks, wait_for_all

FORMAT_VERSION = 3
STATE_FILE = "state.json"


class ResumeError(InputError):
    """A checkpoint cannot be used as it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """Everything that changes the result: `tensors` by part (model, table, planner, ...) and plain `state`."""

    tensors: Mapping[str, Mapping[str, Tensor]]
    state: Mapping[str, Any]


def save_checkpoint(checkpoint: Checkpoint, path: Path, ranks: Ranks = ALONE) -> None:
    """Write to a sibling folder, then rename once: `path` is complete or absent. An older one is replaced.

    Of several ranks each writes the parts that it was given, and the leader the state; all must call this.
    """
    partial = path.with_name(f".{path.name}.incomplete")
    if ranks.leads:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
    wait_for_all()
    for part, tensors in checkpoint.tensors.items():
        save_file(
            {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()},
            partial / f"{part}.safetensors",
        )
    wait_for_all()
    if ranks.leads:
        _complete(checkpoint, partial, path)


def _complete(checkpoint: Checkpoint, partial: Path, path: Path) -> None:
    parts = sorted(file.stem for file in partial.glob("*.safetensors"))
    state = {**checkpoint.state, "format_version": FORMAT_VERSION, "parts": parts}
    (partial / STATE_FILE).write_text(json.dumps(state, indent=1, sort_keys=True) + "\n")
    replaced = path.with_name(f".{path.name}.replaced")
    shutil.rmtree(replaced, ignore_errors=True)
    if path.exists():  # aside, not away: killed here, the older one can still be found
        path.rename(replaced)
    partial.rename(path)
    shutil.rmtree(replaced, ignore_errors=True)


def load_checkpoint(path: Path) -> Checkpoint:
    """Read what save_checkpoint wrote; ResumeError names what is missing, cut short or of another version."""
    file = path / STATE_FILE
    if not file.is_file():
        raise ResumeError(f"{path}: no {STATE_FILE}, so this is no checkpoint. Name a folder that jobs.train wrote")
    try:
        state = json.loads(file.read_text())
        if state["format_version"] != FORMAT_VERSION:
            raise ResumeError(
                f"{path}: format version {state['format_version']}, this code reads {FORMAT_VERSION}. Train again"
            )
        tensors = {part: load_file(path / f"{part}.safetensors") for part in state["parts"]}
    except (json.JSONDecodeError, KeyError, TypeError, OSError, SafetensorError) as error:
        raise ResumeError(f"{path}: the checkpoint is damaged ({error}). Use another one, or train again") from error
    return Checkpoint(tensors=tensors, state=state)


def flat_optimiser(state: Mapping[str, Any]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """An Optimiser's state as (tensors by 'group/parameter/moment', JSON)."""
    tensors = {
        f"{name}/{index}/{moment}": torch.as_tensor(value)
        for name, inner in state["groups"].items()
        for index, moments in inner["state"].items()
        for moment, value in moments.items()
    }
    return tensors, {**state, "groups": {name: inner["param_groups"] for name, inner in state["groups"].items()}}


def nested_optimiser(tensors: Mapping[str, Tensor], plain: Mapping[str, Any]) -> dict[str, Any]:
    """The inverse of flat_optimiser."""
    state: dict[str, dict[int, dict[str, Tensor]]] = {name: {} for name in plain["groups"]}
    for key, tensor in tensors.items():
        name, index, moment = key.split("/")
        state[name].setdefault(int(index), {})[moment] = tensor
    groups = {name: {"param_groups": plain["groups"][name], "state": inner} for name, inner in state.items()}
    return {**plain, "groups": groups}
