"""Parts: the safetensors files of a checkpoint, which cannot run code; writes, checks and reads one."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

_NAME = re.compile(r"[a-z]+(-[0-9]{1,6})?")
_SUFFIX = ".safetensors"


def write_part(folder: Path, part: str, tensors: Mapping[str, Tensor]) -> None:
    """Write a part, and return when it would survive a loss of power."""
    file = folder / f"{part}{_SUFFIX}"
    save_file(_separate_tensors(tensors), file)
    sync_to_disk(file)


def sums_of_parts(folder: Path) -> dict[str, str]:
    """The checksum of every part in the folder, by its name."""
    return {file.stem: _sha256(file) for file in sorted(folder.glob(f"*{_SUFFIX}"))}


def part_file(folder: Path, part: str) -> Path:
    """The file of a part. ValueError unless it is a plain file of the folder."""
    if not _NAME.fullmatch(part):
        raise ValueError(f"{repr(part)[:80]} is no part of a checkpoint")
    file = folder / f"{part}{_SUFFIX}"
    if not is_plain(file):
        raise ValueError(f"{file.name} is missing, or no plain file")
    return file


def check_part(file: Path, sha256: str | None) -> None:
    """ValueError or SafetensorError unless the file has this checksum, if there is one, and the length that its header
    states."""
    if sha256 is not None and _sha256(file) != sha256:
        raise ValueError(f"{file.name} is not what was written")
    with safe_open(file, framework="pt"):
        pass


def read_part(file: Path) -> dict[str, Tensor]:
    """The part's tensors, mapped into memory: what is not used is not read."""
    tensors: dict[str, Tensor] = load_file(file)
    return tensors


def is_plain(file: Path) -> bool:
    """Whether it is a file, and not a link or a pipe."""
    return file.is_file() and not file.is_symlink()


def sync_to_disk(path: Path) -> None:
    """Return when a file, or a folder's list of names, would survive a loss of power."""
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def _separate_tensors(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors on the CPU, each in memory of its own: the file holds tied weights once for each name."""
    separate: dict[str, Tensor] = {}
    taken: set[int] = set()
    for name, tensor in tensors.items():
        own = tensor.detach().cpu().contiguous()
        place = own.untyped_storage().data_ptr()
        separate[name] = own.clone() if place in taken else own
        taken.add(place)
    return separate


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
