"""Checkpoints behind a URL: lists the complete ones, fetches them, and sends new ones so that none is ever partial.

A checkpoint counts if its state.json is there, which is written after its parts and removed before them. One that
replaces another of the same name is first written next to it, under the name that a killed local save leaves too.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from schemas.storage.copies import fetch, publish
from schemas.storage.files import head, inside, read, remove, remove_folder, write
from schemas.storage.place import Place
from trainer.checkpoint.files import LONGEST_STATE, STATE_FILE
from trainer.checkpoint.retention import STEP_NAME

_ASIDE = ".replaced"


def complete_at(place: Place) -> Place | None:
    """Where the checkpoint's files are: at the place itself or next to it; None if it is not complete."""
    aside = place.parent / f".{place.name}{_ASIDE}"
    return next((found for found in (place, aside) if head(found / STATE_FILE) is not None), None)


def complete_in(folder: Place) -> dict[str, Place]:
    """Names of the complete checkpoints of a folder, and the place of each one's files."""
    names = {name.removeprefix(".").removesuffix(_ASIDE) for name in inside(folder)[0]}
    found = {name: complete_at(folder / name) for name in sorted(names) if STEP_NAME.fullmatch(name)}
    return {name: at for name, at in found.items() if at is not None}


def fetch_state(at: Place, to: Path) -> None:
    """Fetch a checkpoint's state alone, by which it is chosen."""
    fetch(at / STATE_FILE, to / STATE_FILE)


def fetch_checkpoint(at: Place, to: Path) -> None:
    """Fetch all files of a checkpoint, its state last."""
    (to / STATE_FILE).unlink(missing_ok=True)
    for name in inside(at)[1]:
        if name != STATE_FILE:
            fetch(at / name, to / name)
    fetch_state(at, to)


def send(made: Path, to: Place, *, before_it_counts: Callable[[], None]) -> None:
    """Create or replace a checkpoint. `before_it_counts` is called when all but its state is there."""
    there = inside(to)[1]
    aside = to.parent / f".{to.name}{_ASIDE}"
    if STATE_FILE in there:
        if _same_parts(read(to / STATE_FILE, largest=LONGEST_STATE), (made / STATE_FILE).read_bytes()):
            before_it_counts()
            write(to / STATE_FILE, made / STATE_FILE)
            return
        before_it_counts()
        publish(made, aside, last=[STATE_FILE])
        remove(to / STATE_FILE)
    for file in sorted(made.iterdir()):
        if file.name != STATE_FILE:
            write(to / file.name, file)
    before_it_counts()
    write(to / STATE_FILE, made / STATE_FILE)
    for name in there:
        if not (made / name).exists():
            remove(to / name)
    remove_checkpoint(aside)


def remove_checkpoint(place: Place) -> None:
    """Remove a checkpoint, its state first, so that it is never partial."""
    remove(place / STATE_FILE)
    remove_folder(place)


def remove_others(folder: Place, kept: set[str]) -> None:
    """Remove all checkpoints, complete or not, except those of these names and those set aside as damaged."""
    for name in inside(folder)[0]:
        bare = name.removeprefix(".").removesuffix(_ASIDE)
        if STEP_NAME.fullmatch(bare) and (name != bare or name not in kept):
            remove_checkpoint(folder / name)


def _same_parts(one: bytes, other: bytes) -> bool:
    """Whether both states list the same files."""
    found = [_sums(text) for text in (one, other)]
    return found[0] is not None and found[0] == found[1]


def _sums(text: bytes) -> Any:
    try:
        return json.loads(text)["sha256"]
    except (ValueError, LookupError, TypeError):  # not a checkpoint's state
        return None
