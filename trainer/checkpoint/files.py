"""Writes and reads one checkpoint: a folder, renamed once complete, of safetensors and JSON, which cannot run code."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor

from schemas.errors import InputError
from schemas.regular_file import read_bytes
from schemas.space import NoSpaceError, space_for
from schemas.strict_json import converted, json_value
from trainer.checkpoint.parts import check_part, is_plain, part_file, read_part, sums_of_parts, sync_to_disk, write_part
from trainer.checkpoint.state import State
from trainer.ranks.process_group import ALONE, Ranks, wait_for_all

FORMAT_VERSION = 5
_FULL_TABLES = 4  # an older version: its tables hold every item row
_WITHOUT_SUMS = 3  # the one before that, also without checksums of its files
STATE_FILE = "state.json"
LONGEST_STATE = 1 << 26  # bytes
_DAMAGE = (  # errors that reading and restoring changed files can raise
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
    """A checkpoint cannot be used. `damaged`: its files differ from what was written."""

    def __init__(self, message: str, *, damaged: bool = False) -> None:
        super().__init__(message)
        self.damaged = damaged


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """All state that affects the result: `tensors` by part (model, table, planner, ...) and plain `state`."""

    tensors: Mapping[str, Mapping[str, Tensor]]
    state: Mapping[str, Any]
    path: Path | None = None
    """where it was read from"""


def save_checkpoint(
    checkpoint: Checkpoint, path: Path, ranks: Ranks = ALONE, meet: Callable[[], None] = wait_for_all
) -> None:
    """Write to a sibling folder, then rename: `path` is complete or absent, whatever kills the process or the machine.

    Replaces an older checkpoint, which `complete_folder` finds until then. Each of several ranks writes the parts that
    it holds, and the leader the state; all must call this. `meet` returns when all ranks have called it.
    """
    partial = path.with_name(f".{path.name}.incomplete")
    if ranks.leads:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
    meet()
    with _room_for(checkpoint, path, None if ranks.world > 1 else partial):  # other ranks still write there
        for part, tensors in checkpoint.tensors.items():
            write_part(partial, part, tensors)
    meet()
    if ranks.leads:
        with _room_for(checkpoint, path, partial):
            _complete(checkpoint, partial, path)


@contextmanager
def _room_for(checkpoint: Checkpoint, path: Path, partial: Path | None) -> Iterator[None]:
    """Turns a full disk into one error message and removes `partial`, which takes up the space."""
    needed = sum(tensor.nbytes for tensors in checkpoint.tensors.values() for tensor in tensors.values())
    try:
        with space_for(path, needed):
            yield
    except NoSpaceError:
        if partial is not None:
            shutil.rmtree(partial, ignore_errors=True)
        raise


def _complete(checkpoint: Checkpoint, partial: Path, path: Path) -> None:
    sums = sums_of_parts(partial)
    written = {**checkpoint.state, "format_version": FORMAT_VERSION, "parts": list(sums), "sha256": sums}
    state = json.loads(json.dumps(written))  # as it will be read
    state["state_sha256"] = _digest(state)
    (partial / STATE_FILE).write_text(json.dumps(state, indent=1, sort_keys=True) + "\n")
    sync_to_disk(partial / STATE_FILE)
    sync_to_disk(partial)
    aside = _replaced_path(path)
    if path.exists():
        shutil.rmtree(aside, ignore_errors=True)  # left by a save that was killed after its last rename
        path.rename(aside)
    partial.rename(path)
    sync_to_disk(path.parent)
    shutil.rmtree(aside, ignore_errors=True)


def _replaced_path(path: Path) -> Path:
    """The name of an older checkpoint while another replaces it."""
    return path.with_name(f".{path.name}.replaced")


def complete_folder(path: Path) -> Path:
    """`path` if it is complete, else the checkpoint that it was to replace if a kill came between the two renames;
    `path` if there is neither."""
    aside = _replaced_path(path)
    return path if (path / STATE_FILE).is_file() or not (aside / STATE_FILE).is_file() else aside


def restore_name(path: Path) -> None:
    """Give a checkpoint that a killed save had renamed its own name again."""
    if (found := complete_folder(path)) != path:
        shutil.rmtree(path, ignore_errors=True)  # without a state, so no checkpoint
        found.rename(path)
        sync_to_disk(path.parent)


def load_checkpoint(path: Path, ranks: Ranks = ALONE) -> Checkpoint:
    """Check what save_checkpoint wrote; ResumeError names what is missing, changed, cut short or of another version.

    Its `damaged` is True where files differ from what was written. Nothing outside of `path` is read, and nothing in
    it can run: parts are plain safetensors files in the folder. Each part is read when it is asked for. Of several
    ranks, each checks the contents of some parts; `Checkpoints.newest_intact` sums up what they find.
    """
    path = complete_folder(path)
    state = load_state(path)
    with checkpoint_errors(path):
        files = {part: part_file(path, part) for part in state["parts"]}
        for part in state["parts"][ranks.rank :: ranks.world]:
            check_part(files[part], None if state["format_version"] == _WITHOUT_SUMS else state["sha256"][part])
    return Checkpoint(tensors=_Parts(path, files), state=state, path=path)


class _Parts(Mapping[str, Mapping[str, Tensor]]):
    """The tensors of a checkpoint on disk by part, each read when it is asked for."""

    def __init__(self, path: Path, files: Mapping[str, Path]) -> None:
        self._path, self._files = path, files

    def __getitem__(self, part: str) -> Mapping[str, Tensor]:
        file = self._files[part]
        with checkpoint_errors(self._path):
            return read_part(file)

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)


def load_state(path: Path) -> dict[str, Any]:
    """The plain state of a checkpoint alone; raises ResumeError as load_checkpoint does."""
    path = complete_folder(path)
    if not is_plain(path / STATE_FILE):
        raise ResumeError(f"{path}: no {STATE_FILE}, so this is no checkpoint. Name a folder that jobs.train wrote")
    with checkpoint_errors(path):
        return _state_in(path / STATE_FILE)


@contextmanager
def checkpoint_errors(path: Path | str | None) -> Iterator[None]:
    """Turns every error that a checkpoint's contents can cause into a ResumeError that names the checkpoint."""
    try:
        yield
    except InputError as error:
        if path is None or str(path) in str(error):
            raise
        raise ResumeError(f"{path}: {error}") from error
    except (MemoryError, torch.OutOfMemoryError) as error:
        message = "memory does not suffice to load the checkpoint. Free some, or resume where there is more"
        raise ResumeError(f"{path}: {message}") from error
    except OSError as error:  # a fault of the machine, not of the files
        raise ResumeError(f"{path}: the checkpoint cannot be read ({error}). Fix that, and start again") from error
    except _DAMAGE as error:
        reason = str(error) if isinstance(error, SafetensorError) else repr(error)[:200]
        message = f"{path}: the checkpoint is damaged ({reason}). Use another one, or train again"
        raise ResumeError(message, damaged=True) from error


def _state_in(file: Path) -> dict[str, Any]:
    error_options: dict[str, Any] = {"advice": "Use another one, or train again", "error": ResumeError}
    text = read_bytes(file, largest=LONGEST_STATE, **error_options)
    where = f"{file.parent}: the checkpoint is damaged, {STATE_FILE}"
    with _as_damaged():
        state = json_value(text, where, **error_options)
    version = state.get("format_version") if isinstance(state, dict) else None
    if type(version) is int and version not in (FORMAT_VERSION, _FULL_TABLES, _WITHOUT_SUMS):
        raise ResumeError(f"{file.parent}: format version {version}, this code reads {FORMAT_VERSION}. Train again")
    with _as_damaged():
        converted(state, State, where, unknown="ignored", **error_options)
    if version != _WITHOUT_SUMS and state.pop("state_sha256") != _digest(state):
        raise ValueError(f"{STATE_FILE} is not what was written")
    return dict(state)


@contextmanager
def _as_damaged() -> Iterator[None]:
    """Marks a ResumeError as one of damaged files: a run may resume from an earlier checkpoint."""
    try:
        yield
    except ResumeError as error:
        raise ResumeError(str(error), damaged=True) from error


def _digest(state: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(state, sort_keys=True).encode()).hexdigest()
