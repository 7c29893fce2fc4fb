"""Resolves the checkpoint that an option names, local or behind a URL: the best of a folder, or else the newest."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from schemas.storage.copies import fetch
from schemas.storage.files import head
from schemas.storage.place import Place
from schemas.storage.stand_in import StandIn
from trainer.checkpoint.remote import complete_at, complete_in, fetch_checkpoint, fetch_state
from trainer.checkpoint.retention import BEST, CONFIG_FILE, FOLDER, resolve_checkpoint, run_folder_of


@dataclass(frozen=True, slots=True)
class FoundCheckpoint:
    """A checkpoint whose files are on this machine."""

    given: Path
    """the named checkpoint or folder of checkpoints; for a URL its local stand-in"""
    path: Path
    """its files"""
    place: Place
    """its local path or URL"""
    run: Place | None
    """the folder of the run that wrote it, if it is in one"""

    @property
    def absolute_name(self) -> str:
        """Its absolute path or URL."""
        return str(self.path.resolve() if self.place.is_local else self.place)


@contextmanager
def found_checkpoint(named: Place) -> Iterator[FoundCheckpoint]:
    """Inside, the checkpoint's files are on this machine; from a folder behind a URL only that checkpoint is fetched.

    Loading it checks whether it is a checkpoint and complete.
    """
    if named.is_local:
        path = resolve_checkpoint(named.path)
        of_run = run_folder_of(path)
        yield FoundCheckpoint(named.path, path, Place(str(path)), None if of_run is None else Place(str(of_run)))
        return
    with tempfile.TemporaryDirectory(prefix="feedloop-checkpoint-") as base:
        at = complete_at(named)
        folder = named if at is None else named.parent  # of checkpoints
        local = Path(base).resolve() / (folder.parent.name or "run") / folder.name
        given = local if at is None else local / named.name
        stand_in = StandIn(given, named)
        with stand_in.named():
            path = _best_of(folder, local) if at is None else given
            if at is not None:
                fetch_checkpoint(at, given)
            run = folder.parent if folder.name == FOLDER and head(folder.parent / CONFIG_FILE) is not None else None
            if run is not None:
                fetch(run / CONFIG_FILE, local.parent / CONFIG_FILE)
            yield FoundCheckpoint(given, path, Place(stand_in.with_place(str(path))), run)


def _best_of(folder: Place, local: Path) -> Path:
    """Fetch the best checkpoint of a folder, or else the newest; the folder's path if there is none."""
    complete = complete_in(folder)
    for name, at in complete.items():
        fetch_state(at, local / name)
    if head(folder / BEST) is not None:
        fetch(folder / BEST, local / BEST)
    path = resolve_checkpoint(local)
    if path.name in complete:
        fetch_checkpoint(complete[path.name], path)
    return path
