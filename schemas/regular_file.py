"""Opens regular files only, up to a stated size: a FIFO hangs, a device never ends, a file may exceed memory.

It is in `schemas` because both halves open files that others wrote, and share nothing but this package.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path

from schemas.errors import ContractError, InputError

_REGULAR = "a regular file"
_KINDS = {
    stat.S_IFREG: _REGULAR,
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
_AGAIN = "Make it again with the job that wrote it"


@contextmanager
def open_regular(
    path: Path, *, largest: int, advice: str = _AGAIN, error: type[InputError] = ContractError
) -> Iterator[BufferedReader]:
    """The file, open for reading; `error`, with the path and the `advice`, unless it is regular and not too large.

    `largest`: bytes. Opening never blocks: a FIFO without a writer raises the same error as any other.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except (OSError, ValueError) as failure:
        raise error(f"{path}: {_reason(failure)}. {advice}") from failure
    found = os.fstat(handle)
    kind = _KINDS.get(stat.S_IFMT(found.st_mode), "something else")
    if kind != _REGULAR or found.st_size > largest:
        os.close(handle)
        if kind != _REGULAR:
            raise error(f"{path}: {kind}, where a regular file belongs. {advice}")
        raise error(f"{path}: {found.st_size} bytes, at most {largest} are read. {advice}")
    with os.fdopen(handle, "rb") as stream:
        yield stream


def read_bytes(path: Path, *, largest: int, advice: str = _AGAIN, error: type[InputError] = ContractError) -> bytes:
    """All bytes of the file; see `open_regular`."""
    with open_regular(path, largest=largest, advice=advice, error=error) as stream:
        found = stream.read(largest + 1)
    if len(found) > largest:  # it grew, or reports no size, as in /proc
        raise error(f"{path}: more than {largest} bytes. {advice}")
    return found


def check_inside(folder: Path, name: str, *, advice: str = _AGAIN, error: type[InputError] = ContractError) -> Path:
    """The path of `name` below `folder`; `error` where it, or a symbolic link on the way, leads outside."""
    path = folder / name
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise error(f"{folder}: names {name[:80]!r}, which does not lie in it. {advice}")
    try:
        same = path.resolve() == folder.resolve() / name
    except (OSError, RuntimeError) as failure:  # RuntimeError: a circle of links
        raise error(f"{path}: {_reason(failure)}. {advice}") from failure
    if not same:
        raise error(f"{path}: a symbolic link, or below one: copy the file itself into {folder}. {advice}")
    return path


def _reason(failure: Exception) -> str:
    if isinstance(failure, FileNotFoundError):
        return "there is no such file"
    if isinstance(failure, RuntimeError) or (isinstance(failure, OSError) and failure.errno == errno.ELOOP):
        return "symbolic links that lead in a circle"
    if isinstance(failure, OSError) and failure.errno == errno.ENXIO:
        return "a socket, where a regular file belongs"
    return failure.strerror or str(failure) if isinstance(failure, OSError) else str(failure)
