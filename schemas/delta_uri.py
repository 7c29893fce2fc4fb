"""Paths of Delta tables as delta-rs takes them."""

from __future__ import annotations

import os
import re
from pathlib import Path

from schemas.errors import InputError
from schemas.storage.place import Place

# delta-rs decodes the first, and fails on the rest
_UNREADABLE = re.compile(r"%[0-9A-Fa-f]{2}|[\[\]^|\\\x00-\x1f\x7f]")
_FIRST_USED_BY: dict[str, int] = {}


def table_uri(path: str | Path | Place) -> str:
    """The path of a Delta table as delta-rs takes it: a URL, or a folder here.

    InputError where delta-rs would look elsewhere, or crash.
    """
    if _FIRST_USED_BY.setdefault("process", os.getpid()) != os.getpid():
        raise InputError(
            f"{path}: this process was forked from one that used delta-rs, whose threads do not outlive a fork. "
            "Start a new process for it: multiprocessing's start method spawn, or a command of its own"
        )
    place = Place.of(str(path))
    if not place.is_local:
        return place.text
    whole = place.path.absolute()
    if found := _UNREADABLE.search(str(whole)):
        raise InputError(
            f"{whole}: the path holds {found[0]!r}, which delta-rs, the reader of Delta tables without Spark, cannot "
            "take. Rename that folder"
        )
    return str(whole)
