"""The working folder of a run: --out itself, or a local folder that is mirrored to the URL --out."""

from __future__ import annotations

import fcntl
import hashlib
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from schemas.errors import InputError
from schemas.storage.files import exists
from schemas.storage.place import Place
from schemas.storage.stand_in import StandIn
from trainer.checkpoint.mirror import Mirror, run_exists
from trainer.checkpoint.retention import CONFIG_FILE, FOLDER, NO_FOLLOWER, Follower
from trainer.ranks.process_group import Ranks, broadcast_from_leader, leader_first, summed, wait_for_all


class Working:
    """The folder in which a run works, and its follower."""

    def __init__(self, stand_in: StandIn, mirror: Mirror | None, *, resume: bool) -> None:
        self.folder, self.place = stand_in.path, stand_in.place
        self.follower: Follower = mirror or NO_FOLLOWER
        self.begun = self.folder / FOLDER if resume else None
        """the folder of checkpoints that the run may resume from"""
        self._stand_in, self._mirror = stand_in, mirror

    def config_written(self) -> None:
        """To be called when config.json is in the folder: the run claims the place."""
        if self._mirror is not None:
            self._mirror.claim()

    def with_place(self, value: Any) -> Any:
        """The value with --out in place of the local working folder."""
        return self._stand_in.with_place(value)


@contextmanager
def working_folder(out: Place, ranks: Ranks, *, resume: bool) -> Iterator[Working]:
    """Inside, the run's working folder; on leaving, all its files are at `out`. All ranks must call this.

    `resume`: whether a run that is there may resume. InputError if one is there and may not, or if ranks of several
    machines are to write behind a URL.
    """
    if ranks.leads and not resume and exists(out / CONFIG_FILE):
        raise InputError(run_exists(out))
    if out.is_local:
        yield Working(StandIn(out.path, out), None, resume=resume)
        return
    with _shared_folder(out, ranks) as folder, StandIn(folder, out).named():
        mirror = Mirror(folder, out, folder.parents[1] / "going") if ranks.leads else None
        with leader_first(ranks):
            if mirror is not None and resume:
                mirror.fetch_run()
        try:
            yield Working(StandIn(folder, out), mirror, resume=resume)
        except Exception as error:
            try:
                _end(mirror)
            except InputError as other:  # must not hide why the run failed
                error.add_note(str(other))
            raise
        _end(mirror)


def _end(mirror: Mirror | None) -> None:
    if mirror is not None:
        mirror.end()


@contextmanager
def _shared_folder(out: Place, ranks: Ranks) -> Iterator[Path]:
    """A new folder for all ranks, removed on leaving; first removes those that killed runs of the same --out left."""
    number = int(broadcast_from_leader(float(secrets.randbits(48)), ranks))
    common = f"feedloop-run-{hashlib.sha256(str(out).encode()).hexdigest()[:12]}-"
    base = Path(tempfile.gettempdir()).resolve() / f"{common}{number:012x}"
    folder = base / "run" / (out.name or "run")
    if not ranks.leads:
        wait_for_all()
        if summed([float(folder.is_dir())])[0] < ranks.world:
            raise InputError(_SEVERAL_MACHINES.format(out=out))
        yield folder
        return
    for left in base.parent.glob(f"{common}*"):
        _remove_if_dead(left)
    base.mkdir(mode=0o700)
    try:
        with (base / "lock.new").open("w") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            (base / "lock.new").rename(base / "lock")
            folder.mkdir(parents=True)
            wait_for_all()
            if summed([1.0])[0] < ranks.world:
                raise InputError(_SEVERAL_MACHINES.format(out=out))
            yield folder
    finally:
        shutil.rmtree(base, ignore_errors=True)


_SEVERAL_MACHINES = (
    "{out}: the processes of this run do not share a folder for temporary files, in which they assemble what they save "
    "together. Name an --out on a file system that all see, or start them on one machine"
)


def _remove_if_dead(left: Path) -> None:
    """Remove the folder of a process that has ended: the kernel frees its lock, however it ended."""
    try:
        with (left / "lock").open("a") as held:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(left, ignore_errors=True)
    except OSError:  # alive, not yet locked, or another user's
        return
