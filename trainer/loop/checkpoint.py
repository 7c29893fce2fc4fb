"""Checkpoints: a directory renamed once complete, safetensors and JSON only, so that loading one cannot run code."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from schemas.errors import InputError
from trainer.loop.distributed import ALONE, Ranks, wait_for_all

FORMAT_VERSION = 4
_WITHOUT_SUMS = 3  # the version before, whose files are not checked
STATE_FILE = "state.json"
_PART = re.compile(r"[a-z]+(-[0-9]{1,6})?")
_LONGEST_STATE = 1 << 26  # bytes
_DAMAGE = (  # what reading and restoring something else than what was written can raise
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    SafetensorError,
    TypeError,
    ValueError,
)


class ResumeError(InputError):
    """A checkpoint cannot be used as it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """Everything that changes the result: `tensors` by part (model, table, planner, ...) and plain `state`."""

    tensors: Mapping[str, Mapping[str, Tensor]]
    state: Mapping[str, Any]
    path: Path | None = None
    """where it was read from"""


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
        save_file(_apart(tensors), partial / f"{part}.safetensors")
    wait_for_all()
    if ranks.leads:
        _complete(checkpoint, partial, path)


def _apart(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors on the CPU, each in memory of its own: of weights that are tied, the file holds one for each name."""
    apart: dict[str, Tensor] = {}
    taken: set[int] = set()
    for name, tensor in tensors.items():
        own = tensor.detach().cpu().contiguous()
        place = own.untyped_storage().data_ptr()
        apart[name] = own.clone() if place in taken else own
        taken.add(place)
    return apart


def _complete(checkpoint: Checkpoint, partial: Path, path: Path) -> None:
    parts = sorted(file.stem for file in partial.glob("*.safetensors"))
    sums = {part: _sha256(partial / f"{part}.safetensors") for part in parts}
    told = {**checkpoint.state, "format_version": FORMAT_VERSION, "parts": parts, "sha256": sums}
    state = json.loads(json.dumps(told))  # as it will be read
    state["state_sha256"] = _digest(state)
    (partial / STATE_FILE).write_text(json.dumps(state, indent=1, sort_keys=True) + "\n")
    replaced = path.with_name(f".{path.name}.replaced")
    shutil.rmtree(replaced, ignore_errors=True)
    if path.exists():  # aside, not away: killed here, the older one can still be found
        path.rename(replaced)
    partial.rename(path)
    shutil.rmtree(replaced, ignore_errors=True)


def load_checkpoint(path: Path) -> Checkpoint:
    """Read what save_checkpoint wrote; ResumeError names what is missing, changed, cut short or of another version.

    Nothing outside of `path` is read, and nothing in it can run: parts are plain safetensors files in the folder.
    """
    if not _plain(path / STATE_FILE):
        raise ResumeError(f"{path}: no {STATE_FILE}, so this is no checkpoint. Name a folder that jobs.train wrote")
    with of_checkpoint(path):
        state = _state_in(path / STATE_FILE)
        tensors = {part: load_file(_part_in(path, part, state)) for part in state["parts"]}
        return Checkpoint(tensors=tensors, state=state, path=path)


@contextmanager
def of_checkpoint(path: Path | None) -> Iterator[None]:
    """Inside, whatever the contents of a checkpoint can cause comes out as a ResumeError that names it."""
    try:
        yield
    except InputError as error:
        if path is None or str(path) in str(error):
            raise
        raise ResumeError(f"{path}: {error}") from error
    except _DAMAGE as error:
        said = str(error) if isinstance(error, OSError | SafetensorError) else repr(error)[:200]
        raise ResumeError(f"{path}: the checkpoint is damaged ({said}). Use another one, or train again") from error


def _state_in(file: Path) -> dict[str, Any]:
    if file.stat().st_size > _LONGEST_STATE:
        raise ValueError(f"{STATE_FILE} has {file.stat().st_size} bytes")
    state = json.loads(file.read_text("utf-8"))
    version = state["format_version"]
    if version not in (FORMAT_VERSION, _WITHOUT_SUMS):
        told = f"format version {repr(version)[:20]}, this code reads {FORMAT_VERSION}. Train again"
        raise ResumeError(f"{file.parent}: {told}")
    if version == FORMAT_VERSION and state.pop("state_sha256") != _digest(state):
        raise ValueError(f"{STATE_FILE} is not what was written")
    return dict(state)


def _part_in(path: Path, part: str, state: Mapping[str, Any]) -> Path:
    """The file of a part, which is what was written."""
    if not _PART.fullmatch(part):
        raise ValueError(f"{repr(part)[:80]} is no part of a checkpoint")
    file = path / f"{part}.safetensors"
    if not _plain(file):
        raise ValueError(f"{file.name} is missing, or no plain file")
    if state["format_version"] == FORMAT_VERSION and _sha256(file) != state["sha256"][part]:
        raise ValueError(f"{file.name} is not what was written")
    return file


def _plain(file: Path) -> bool:
    return file.is_file() and not file.is_symlink()


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _digest(state: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(state, sort_keys=True).encode()).hexdigest()


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
