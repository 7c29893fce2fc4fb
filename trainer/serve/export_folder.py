"""Replaces the folder of an export, which is complete at every moment, old or new; one export at a time writes it."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from schemas.embedding import EMBEDDINGS
from schemas.errors import InputError
from schemas.space import NoSpaceError, space_for

_HERE, _EXCHANGE = -100, 2  # Linux's AT_FDCWD and RENAME_EXCHANGE
_NOT_SUPPORTED = (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP)  # by the kernel or the file system


@contextmanager
def export_lock(out: Path) -> Iterator[None]:
    """Inside, no other process on this machine exports into `out`; InputError where one does.

    The lock ends with its process, however that ends; its empty file stays next to the folder.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    with out.with_name(f".{out.name}.lock").open("a") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise InputError(
                f"{out}: another export writes this folder. Run this again when it is done, or name another --out"
            ) from error
        yield


@contextmanager
def export_folder(out: Path, *, needed: int) -> Iterator[Path]:
    """A folder to fill, which replaces `out` when the block ends. It starts with the Delta table of an earlier export.

    `needed`: approximate bytes that will be written, for the message on a full disk, which leaves no files behind.
    """
    partial = out.with_name(f".{out.name}.incomplete")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        with space_for(out, needed):
            partial.mkdir(parents=True)
            _link_table(out, partial)
            yield partial
    except NoSpaceError:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    _replace(partial, out)


def _link_table(out: Path, partial: Path) -> None:
    if (out / EMBEDDINGS.name).is_dir():  # its files never change, so hard links suffice
        shutil.copytree(out / EMBEDDINGS.name, partial / EMBEDDINGS.name, copy_function=os.link)


def restore_replaced(out: Path) -> None:
    """Renames the earlier export back to `out` after a kill between the two renames of `_replace`."""
    aside = _aside(out)
    if not out.exists() and aside.is_dir():
        aside.rename(out)


def current_folder(out: Path) -> Path:
    """`out`, or the earlier export's folder aside while the two renames of `_replace` put another one in its place."""
    aside = _aside(out)
    return aside if not os.path.lexists(out) and aside.is_dir() else out


def _aside(out: Path) -> Path:
    return out.with_name(f".{out.name}.replaced")


def _replace(partial: Path, out: Path) -> None:
    if not out.exists():
        partial.rename(out)
    elif _exchanged(partial, out):
        shutil.rmtree(partial, ignore_errors=True)  # the earlier export
    else:  # without the exchange there is a moment without `out`, in which readers use current_folder
        aside = _aside(out)
        shutil.rmtree(aside, ignore_errors=True)
        out.rename(aside)
        partial.rename(out)
        shutil.rmtree(aside, ignore_errors=True)


def _exchanged(one: Path, other: Path) -> bool:
    """Exchanges the names of two folders atomically; False where the system cannot."""
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if renameat2 is None:
        return False
    if renameat2(_HERE, os.fsencode(one), _HERE, os.fsencode(other), _EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in _NOT_SUPPORTED:
        return False
    raise OSError(number, os.strerror(number), str(other))
