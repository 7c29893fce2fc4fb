"""Space: a full disk as one message with the path, what was needed and what is free; for writers of both halves."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from schemas.errors import InputError

# Rust, C++ and Java libraries tell it in words alone: safetensors, delta-rs, faiss, Spark.
_FULL = re.compile(r"no space left on device|disk quota exceeded|database or disk is full", re.IGNORECASE)


class NoSpaceError(InputError):
    """A file system is full, or its user's share of it."""


def is_no_space(error: BaseException) -> bool:
    """Whether an error, or what caused it, is a full file system."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) and seen.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        if _FULL.search(str(seen)):
            return True
        seen = seen.__cause__
    return False


@contextmanager
def space_for(path: Path, needed: int | None = None) -> Iterator[None]:
    """Inside, a full file system comes out as a NoSpaceError that names `path`, the bytes `needed` and those free."""
    try:
        yield
    except NoSpaceError:
        raise
    except Exception as error:
        if not is_no_space(error):
            raise
        raise NoSpaceError(no_space(path, needed)) from error


def no_space(path: Path, needed: int | None = None) -> str:
    """The message for a path on a file system that is full."""
    wanted = "" if needed is None else f"{needed:,} bytes are needed, "
    return (
        f"{path}: no space left there: {wanted}{free_bytes(path):,} are free. Make room, then run the same command "
        "again: what was whole before is whole still"
    )


def fullest(paths: Sequence[Path]) -> Path:
    """Of some paths the one on the file system with the least room."""
    return min(paths, key=free_bytes)


def free_bytes(path: Path) -> int:
    """Bytes that may still be written where `path` is, or would be made."""
    there = next(parent for parent in (path, *path.absolute().parents) if parent.exists())
    found = os.statvfs(there)
    return found.f_bavail * found.f_frsize
