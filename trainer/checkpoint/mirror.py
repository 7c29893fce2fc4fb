"""Mirror: copies the run's local working folder to the URL --out, in order.

A thread sends, so that the next steps need not wait. At the URL each checkpoint is complete or absent at every moment,
and the metrics there reach at least as far as each complete checkpoint: a run killed at any moment resumes from there.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from queue import Queue
from threading import Thread

from schemas.errors import InputError
from schemas.storage.copies import fetch
from schemas.storage.files import create, head, is_folder, write
from schemas.storage.place import Place
from trainer.checkpoint.files import STATE_FILE
from trainer.checkpoint.remote import complete_in, fetch_checkpoint, fetch_state, remove_others, send
from trainer.checkpoint.retention import BEST, CONFIG_FILE, FOLDER, Follower
from trainer.checkpoint.turn import Turn

_OWN_WAY = {FOLDER, "_locks"}  # checkpoints are sent one by one; locks are not sent
_NOT_FETCHED = (f"{FOLDER}/", "_locks/", "tensorboard/", "profile/")  # resuming needs none of these as they are


@dataclass(frozen=True, slots=True)
class _Upload:
    """A run's folder at one moment: its new checkpoints, the names of all, the mark of the best."""

    new: Mapping[str, Path]
    kept: set[str]
    best: bytes | None


class Mirror(Follower):
    """Mirrors one run; only the leader has one. `folder` is the local copy of `place`; checkpoints that are being sent
    are linked into `going`."""

    def __init__(self, folder: Path, place: Place, going: Path) -> None:
        self._folder, self._place = folder, place
        self._there: dict[str, str] = {}  # checkpoints at the place, by name: the digest of their state
        self._from: dict[str, Place] = {}
        self._sent: dict[str, tuple[int, int]] = {}  # other files, as they were sent
        self._going = going
        self._turn = Turn(place)
        self._number = 0
        self._queue: Queue[_Upload | None] = Queue(maxsize=1)  # a slow network blocks training at the second upload
        self._failed: Exception | None = None
        self._thread = Thread(target=self._work, name="sending checkpoints", daemon=True)

    def fetch_run(self) -> None:
        """Fetch what resuming needs: the run's own files, and the state of each complete checkpoint at the URL."""
        if not is_folder(self._place):
            return
        fetch(self._place, self._folder, wanted=lambda name: not name.startswith(_NOT_FETCHED))
        self._sent = {name: _stamp(self._folder / name) for name in self._files()}
        folder = self._folder / FOLDER
        for name, at in complete_in(self._place / FOLDER).items():
            if at.name == name:
                fetch_state(at, folder / name)
                self._there[name], self._from[name] = _digest(folder / name), at
            else:  # a kill came during its replacement: it is sent again under its own name
                fetch_checkpoint(at, folder / name)
        if head(self._place / FOLDER / BEST) is not None:
            fetch(self._place / FOLDER / BEST, folder / BEST)

    def claim(self) -> None:
        """Write the run's config to the place and take the turn to write there. InputError if another run's config
        has arrived there since this run looked.
        """
        if CONFIG_FILE in self._sent:  # the run resumes
            self._turn.take()
            return
        try:
            create(self._place / CONFIG_FILE, (self._folder / CONFIG_FILE).read_bytes())
        except FileExistsError as error:
            raise InputError(run_exists(self._place)) from error
        self._sent[CONFIG_FILE] = _stamp(self._folder / CONFIG_FILE)
        self._turn.take()

    def bring(self, checkpoint: Path) -> None:
        """See Follower."""
        if (at := self._from.pop(checkpoint.name, None)) is not None:
            fetch_checkpoint(at, checkpoint)

    def follow(self) -> None:
        """See Follower. Raises what the sending thread could not send, which ends the run."""
        self._check()
        folder = self._folder / FOLDER
        held = {path.name: path for path in folder.glob("step-*") if (path / STATE_FILE).is_file()}
        digests = {name: _digest(path) for name, path in held.items()}
        self._number += 1
        new = {}
        for name in (name for name, digest in digests.items() if self._there.get(name) != digest):
            new[name] = self._going / str(self._number) / name
            shutil.copytree(held[name], new[name], copy_function=os.link)  # the run may remove its own meanwhile
        self._there = digests
        best = (folder / BEST).read_bytes() if (folder / BEST).is_file() else None
        self._put(_Upload(new, set(held), best))
        self._check()

    def end(self) -> None:
        """Return when all files are at the place; raises what could not be sent."""
        if self._thread.is_alive():
            self._queue.put(None)
            self._thread.join()
        self._check()
        self._send_files()
        self._turn.give_back()

    def _put(self, upload: _Upload) -> None:
        if not self._thread.is_alive():
            self._thread.start()
        self._queue.put(upload)

    def _check(self) -> None:
        if self._failed is not None:
            raise InputError(
                f"{self._place}: what was trained could not be sent there ({self._failed}). Resume with --resume auto "
                "from the last checkpoint that is there, when it can be written again"
            ) from self._failed

    def _work(self) -> None:
        while (upload := self._queue.get()) is not None:
            try:
                if self._failed is None:
                    self._send(upload)
            except Exception as error:
                self._failed = error  # raised by the run's own thread; later uploads are skipped

    def _send(self, upload: _Upload) -> None:
        folder = self._place / FOLDER
        self._turn.check()
        for name, made in sorted(upload.new.items()):
            send(made, folder / name, before_it_counts=self._send_files)
            shutil.rmtree(made, ignore_errors=True)
        self._send_files()
        if upload.best is not None:
            write(folder / BEST, upload.best)
        remove_others(folder, upload.kept)

    def _send_files(self) -> None:
        """Send the other files that the run has written since they were sent last, from a copy, as a file may grow.

        InputError, and nothing is sent, if another process resumes the run.
        """
        self._turn.check()
        for name in self._files():
            try:
                stamp = _stamp(self._folder / name)
                if self._sent.get(name) == stamp:
                    continue
                copy = self._going / "copy"
                self._going.mkdir(exist_ok=True)
                shutil.copyfile(self._folder / name, copy)
            except FileNotFoundError:  # just renamed
                continue
            write(self._place / name, copy)
            self._sent[name] = stamp

    def _files(self) -> list[str]:
        """Names of the run's files, without its checkpoints, its lock and incomplete files.

        The checkpoints' folder is not entered: the run renames and removes there at the same time.
        """
        names = []
        for folder, below, files in os.walk(self._folder):
            if Path(folder) == self._folder:
                below[:] = [name for name in below if name not in _OWN_WAY]
            at = Path(folder).relative_to(self._folder)
            names += [(at / name).as_posix() for name in files if not name.startswith(".")]
        return sorted(names)


def run_exists(place: Place) -> str:
    """The error message where a run would be overwritten."""
    return f"{place}: holds a training run. Add --resume auto, name another --out, or remove it"


def _stamp(file: Path) -> tuple[int, int]:
    found = file.stat()
    return found.st_size, found.st_mtime_ns


def _digest(checkpoint: Path) -> str:
    return hashlib.sha256((checkpoint / STATE_FILE).read_bytes()).hexdigest()
