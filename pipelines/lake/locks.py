"""Allows one writer per stage and lake, by a lock that the kernel frees when its process ends, even by a kill."""

from __future__ import annotations

import fcntl
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pipelines.lake.leases import leased
from schemas.errors import ContractError, InputError
from schemas.storage.place import Place
from schemas.strict_json import Count, ShortText, decoded

_LARGEST = 1 << 16  # characters of a lock's file that are read
FOLDER = "_locks"  # below the lake; Spark and Delta pass over names with an underscore


@dataclass(frozen=True, slots=True, kw_only=True)
class _Holder:
    """The content of a lock's file."""

    job: ShortText
    pid: Count
    host: ShortText
    since: ShortText


@contextmanager
def locked(root: str, stage: str, *, by: str | None = None, what: str = "lake") -> Iterator[None]:
    """Inside, no other process on this file system runs the stage of this lake; InputError names one that does.

    `by`: the job that holds the stage, where it is not the stage's own; `what`: what `root` is. A lake behind a URL
    is locked by a lease, for no kernel locks there.
    """
    if "://" in root:
        with leased(Place.of(root) / FOLDER, stage, by=by or stage, what=what):
            yield
        return
    file = Path(root) / FOLDER / f"{stage}.lock"
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a+", encoding="utf-8") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            held.seek(0)
            holder = _holder(stage, what, held.read(_LARGEST))
            raise InputError(f"{root}: {holder}. Run this again when it is done") from error
        held.truncate(0)  # the file stays, empty: removing it would let two processes lock two files of one name
        held.write(json.dumps({"job": by or stage, "pid": os.getpid(), "host": socket.gethostname(), "since": _now()}))
        held.flush()
        try:
            yield
        finally:
            held.truncate(0)


def _holder(stage: str, what: str, text: str) -> str:
    """A phrase on who holds the lock, by the file's text, which the holder may not have written yet."""
    try:
        holder = decoded(text, _Holder, stage)
    except ContractError:
        return f"{stage} of this {what} has just begun elsewhere"
    process = f"process {holder.pid} on {holder.host}, since {holder.since}"
    return f"{holder.job} of this {what} is running already ({process})"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
