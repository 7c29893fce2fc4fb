"""Paths of Delta tables in the form that delta-rs accepts."""

from __future__ import annotations

import os
import re
from pathlib import Path

from schemas.errors import InputError
from schemas.storage.place import Place

# delta-rs decodes the first and fails on the rest
_UNREADABLE = re.compile(r"%[0-9A-Fa-f]{2}|[\[\]^|\\\x00-\x1f\x7f]")
_FIRST_USED_BY: dict[str, int] = {}


def table_uri(path: str | Path | Place) -> str:
    """The path of a Delta table for delta-rs: a URL or a local folder.

    InputError where delta-rs would read another path or crash.
    """
    if _FIRST_USED_BY.setdefault("process", os.getpid()) != os.getpid():
        raise InputError(
            f"{path}: this process was forked from one that used delta-rs, whose threads do not survive a fork. "
            "Start a new process instead: multiprocessing's start method spawn, or a separate command"
        )
    place = Place.of(str(path))
    if not place.is_local:
        return place.text
    absolute = place.path.absolute()
    if found := _UNREADABLE.search(str(absolute)):
        raise InputError(
            f"{absolute}: the path holds {found[0]!r}, which delta-rs, the reader of Delta tables without Spark, "
            "cannot take. Rename that folder"
        )
    return str(absolute)
