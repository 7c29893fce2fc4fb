"""Turns a full disk into one message with the path, the bytes needed and the bytes free; for writers of both halves."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from schemas.errors import InputError

# Rust, C++ and Java libraries say it only in their message: safetensors, delta-rs, faiss, Spark.
_FULL = re.compile(r"no space left on device|disk quota exceeded|database or disk is full", re.IGNORECASE)


class NoSpaceError(InputError):
    """A file system, or the user's quota on it, is full."""


def is_no_space(error: BaseException) -> bool:
    """Whether the error or one of its causes is a full file system."""
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
    """Inside, a full file system raises a NoSpaceError that names `path`, the bytes `needed` and the bytes free."""
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
        "again: what was complete before still is"
    )


def path_with_least_space(paths: Sequence[Path]) -> Path:
    """The path on the file system with the fewest free bytes."""
    return min(paths, key=free_bytes)


def free_bytes(path: Path) -> int:
    """Bytes that can still be written where `path` is or would be created."""
    existing = next(parent for parent in (path, *path.absolute().parents) if parent.exists())
    found = os.statvfs(existing)
    return found.f_bavail * found.f_frsize
