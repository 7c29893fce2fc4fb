"""Checkpoints: a directory renamed once complete, safetensors and JSON only, so that loading one cannot run code."""

from __future__ import annotations

import hashlib
import json
import os
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
from schemas.regular_file import read_bytes
from schemas.space import NoSpaceError, space_for
from schemas.strict_json import converted, json_value
from trainer.checkpoint.state import State
from trainer.ranks.process_group import ALONE, Ranks, wait_for_all

FORMAT_VERSION = 4
_WITHOUT_SUMS = 3  # the version before, whose files are not checked
STATE_FILE = "state.json"
_PART = re.compile(r"[a-z]+(-[0-9]{1,6})?")
LONGEST_STATE = 1 << 26  # bytes
_DAMAGE = (  # what reading and restoring something else than what was written can raise
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    RuntimeError,
    SafetensorError,
    TypeError,
    ValueError,
)


class ResumeError(InputError):
    """A checkpoint cannot be used as it is. `damaged`: for its files are not what was written."""

    def __init__(self, message: str, *, damaged: bool = False) -> None:
        super().__init__(message)
        self.damaged = damaged


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """Everything that changes the result: `tensors` by part (model, table, planner, ...) and plain `state`."""

    tensors: Mapping[str, Mapping[str, Tensor]]
    state: Mapping[str, Any]
    path: Path | None = None
    """where it was read from"""


def save_checkpoint(checkpoint: Checkpoint, path: Path, ranks: Ranks = ALONE) -> None:
    """Write to a sibling folder, then rename: `path` is complete or absent, whatever kills the process or the machine.

    An older one is replaced, and until then `standing` finds it. Of several ranks each writes the parts that it was
    given, and the leader the state; all must call this.
    """
    partial = path.with_name(f".{path.name}.incomplete")
    if ranks.leads:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
    wait_for_all()
    with _room_for(checkpoint, partial, path):
        for part, tensors in checkpoint.tensors.items():
            file = partial / f"{part}.safetensors"
            save_file(_apart(tensors), file)
            on_disk(file)
    wait_for_all()
    if ranks.leads:
        with _room_for(checkpoint, partial, path):
            _complete(checkpoint, partial, path)


@contextmanager
def _room_for(checkpoint: Checkpoint, partial: Path, path: Path) -> Iterator[None]:
    """Inside, a full disk is one message, and what is half written goes, for it fills the disk."""
    needed = sum(tensor.nbytes for tensors in checkpoint.tensors.values() for tensor in tensors.values())
    try:
        with space_for(path, needed):
            yield
    except NoSpaceError:
        shutil.rmtree(partial, ignore_errors=True)
        raise


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
    on_disk(partial / STATE_FILE)
    on_disk(partial)
    aside = _aside(path)
    if path.exists():
        shutil.rmtree(aside, ignore_errors=True)  # of a save that was killed when its own was in place
        path.rename(aside)
    partial.rename(path)
    on_disk(path.parent)
    shutil.rmtree(aside, ignore_errors=True)


def _aside(path: Path) -> Path:
    """Where an older checkpoint stands while another takes its place."""
    return path.with_name(f".{path.name}.replaced")


def standing(path: Path) -> Path:
    """The checkpoint `path`, or what it was to replace where a kill came between two renames; `path` if neither is."""
    aside = _aside(path)
    return path if (path / STATE_FILE).is_file() or not (aside / STATE_FILE).is_file() else aside


def put_in_place(path: Path) -> None:
    """Give back its name to a checkpoint that a killed save left aside."""
    if (found := standing(path)) != path:
        shutil.rmtree(path, ignore_errors=True)  # without a state, so no checkpoint
        found.rename(path)
        on_disk(path.parent)


def on_disk(path: Path) -> None:
    """Return when a file, or a folder's list of names, outlives a loss of power."""
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def load_checkpoint(path: Path) -> Checkpoint:
    """Read what save_checkpoint wrote; ResumeError names what is missing, changed, cut short or of another version.

    `damaged` where it is not what was written. Nothing outside of `path` is read, and nothing in it can run: parts
    are plain safetensors files in the folder.
    """
    path = standing(path)
    state = load_state(path)
    with of_checkpoint(path):
        tensors = {part: load_file(_part_in(path, part, state)) for part in state["parts"]}
        return Checkpoint(tensors=tensors, state=state, path=path)


def load_state(path: Path) -> dict[str, Any]:
    """The plain state of a checkpoint alone; ResumeError as load_checkpoint."""
    path = standing(path)
    if not _plain(path / STATE_FILE):
        raise ResumeError(f"{path}: no {STATE_FILE}, so this is no checkpoint. Name a folder that jobs.train wrote")
    with of_checkpoint(path):
        return _state_in(path / STATE_FILE)


@contextmanager
def of_checkpoint(path: Path | None) -> Iterator[None]:
    """Inside, whatever the contents of a checkpoint can cause comes out as a ResumeError that names it."""
    try:
        yield
    except InputError as error:
        if path is None or str(path) in str(error):
            raise
        raise ResumeError(f"{path}: {error}") from error
    except (MemoryError, torch.OutOfMemoryError) as error:
        told = "memory does not suffice to load the checkpoint. Free some, or go on where there is more"
        raise ResumeError(f"{path}: {told}") from error
    except OSError as error:  # of the machine, not of what was written
        raise ResumeError(f"{path}: the checkpoint cannot be read ({error}). Mend that, and start again") from error
    except _DAMAGE as error:
        said = str(error) if isinstance(error, SafetensorError) else repr(error)[:200]
        told = f"{path}: the checkpoint is damaged ({said}). Use another one, or train again"
        raise ResumeError(told, damaged=True) from error


def _state_in(file: Path) -> dict[str, Any]:
    told: dict[str, Any] = {"advice": "Use another one, or train again", "error": ResumeError}
    text = read_bytes(file, largest=LONGEST_STATE, **told)
    where = f"{file.parent}: the checkpoint is damaged, {STATE_FILE}"
    with _as_damage():
        state = json_value(text, where, **told)
    version = state.get("format_version") if isinstance(state, dict) else None
    if type(version) is int and version not in (FORMAT_VERSION, _WITHOUT_SUMS):
        raise ResumeError(f"{file.parent}: format version {version}, this code reads {FORMAT_VERSION}. Train again")
    with _as_damage():
        converted(state, State, where, unknown="ignored", **told)
    if version == FORMAT_VERSION and state.pop("state_sha256") != _digest(state):
        raise ValueError(f"{STATE_FILE} is not what was written")
    return dict(state)


@contextmanager
def _as_damage() -> Iterator[None]:
    """Inside, a ResumeError is one of damaged files: a run may go on from an earlier checkpoint."""
    try:
        yield
    except ResumeError as error:
        raise ResumeError(str(error), damaged=True) from error


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
