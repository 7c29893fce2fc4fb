"""Keeps a run's checkpoints, one folder each: the newest few and the best; removes the others."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

from schemas.regular_file import read_bytes
from schemas.space import space_for
from schemas.strict_json import Count, between, decoded
from trainer.checkpoint.files import (
    STATE_FILE,
    Checkpoint,
    ResumeError,
    complete_folder,
    load_checkpoint,
    load_state,
    restore_name,
    save_checkpoint,
)
from trainer.checkpoint.parts import sync_to_disk
from trainer.ranks.process_group import ALONE, Ranks, broadcast_from_leader, summed, wait_for_all

STEP_NAME = re.compile(r"step-([0-9]{8,18})")
BEST = "best.json"
_LONGEST_BEST = 1 << 12  # bytes
FOLDER, CONFIG_FILE = "checkpoint", "config.json"  # in the folder of a run


@dataclass(frozen=True, slots=True, kw_only=True)
class Best:
    """The epoch after which the validation impressions had the best AUC."""

    step: Count
    auc: Annotated[float, between(0, 1)]


class Follower:
    """Is notified of changes in a run's folder; this one does nothing."""

    def bring(self, checkpoint: Path) -> None:
        """Provide the files of this checkpoint, whose state is there, before they are read."""

    def follow(self) -> None:
        """Called after a checkpoint was saved, marked or removed, in the thread that did it, one at a time."""


NO_FOLLOWER = Follower()


@dataclass(frozen=True, slots=True)
class Checkpoints:
    """`folder` holds step-00000120, ... and, if epochs are evaluated, best.json. One run writes it at a time."""

    folder: Path
    keep: int
    ranks: Ranks = ALONE
    """only the leader marks and removes; all must call save"""
    follower: Follower = NO_FOLLOWER
    """the leader's: provides a checkpoint's files before they are read, and is notified of every change"""

    def save(self, checkpoint: Checkpoint, *, step: int, meet: Callable[[], None] = wait_for_all) -> Path:
        """Write the checkpoint of `step`, then remove those that are not kept. `meet`: as in save_checkpoint."""
        path = self.path_of(step)
        save_checkpoint(checkpoint, path, self.ranks, meet)
        self.sweep()
        return path

    def path_of(self, step: int) -> Path:
        """The folder of the checkpoint of `step`."""
        return self.folder / f"step-{step:08d}"

    def steps(self) -> list[int]:
        """Steps of the complete checkpoints, ascending."""
        names = [path.name for pattern in ("step-*", ".step-*.replaced") for path in self.folder.glob(pattern)]
        named = (STEP_NAME.fullmatch(name.removeprefix(".").removesuffix(".replaced")) for name in names)
        steps = {int(match.group(1)) for match in named if match}
        return sorted(step for step in steps if (complete_folder(self.path_of(step)) / STATE_FILE).is_file())

    def newest(self) -> Path | None:
        """The latest complete checkpoint."""
        steps = self.steps()
        return complete_folder(self.path_of(steps[-1])) if steps else None

    def newest_state(self) -> Mapping[str, Any] | None:
        """The plain state of the latest checkpoint whose state is not damaged; None if there is none."""
        for step in reversed(self.steps()):
            try:
                return load_state(self.path_of(step))
            except ResumeError as error:
                if not error.damaged:
                    raise
        return None

    def newest_intact(self) -> tuple[Checkpoint | None, list[str]]:
        """(the latest checkpoint that every rank can read, or None, and why each newer one was passed over).

        Those passed over are renamed to <step>.damaged. ResumeError, and nothing is renamed, if all are damaged.
        """
        passed: dict[Path, str] = {}
        steps = self.steps()
        while (step := int(broadcast_from_leader(steps.pop() if steps else -1, self.ranks))) >= 0:
            path = complete_folder(self.path_of(step))
            self._bring(path)
            try:
                checkpoint, damage = load_checkpoint(path, self.ranks), ""
            except ResumeError as error:
                if not error.damaged:
                    raise
                checkpoint, damage = None, str(error)
            damaged = any(summed([float(checkpoint is None)]))
            if not damaged:
                self._set_aside(passed)
                return checkpoint, list(passed.values())
            passed[path] = damage or f"{path}: another process reads it as damaged"
        if passed:
            raise ResumeError(
                f"no checkpoint of this run can be used. {' '.join(passed.values())}. To start again, remove "
                f"{self.folder} or name another --out"
            )
        return None, []

    def _bring(self, path: Path) -> None:
        if self.ranks.leads:
            self.follower.bring(path)
        wait_for_all()

    def _set_aside(self, passed: Mapping[Path, str]) -> None:
        for path in passed if self.ranks.leads else ():
            aside = path.with_name(f"{path.name.removeprefix('.')}.damaged")
            shutil.rmtree(aside, ignore_errors=True)
            path.rename(aside)

    def best(self) -> Best | None:
        """The epoch that mark_best marked last, if its checkpoint is there."""
        file = self.folder / BEST
        if not os.path.lexists(file):
            return None
        error_options: dict[str, Any] = {
            "advice": "Remove it: the newest checkpoint then counts as the best",
            "error": ResumeError,
        }
        best = decoded(read_bytes(file, largest=_LONGEST_BEST, **error_options), Best, str(file), **error_options)
        return best if best.step in self.steps() else None

    def mark_best(self, best: Best) -> None:
        """Mark the checkpoint of `best.step`, which must exist, as the best."""
        if not self.ranks.leads:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        partial = self.folder / f".{BEST}"
        with space_for(self.folder / BEST):
            partial.write_text(json.dumps(asdict(best)) + "\n")
            sync_to_disk(partial)
        partial.replace(self.folder / BEST)
        sync_to_disk(self.folder)
        self.sweep()

    def sweep(self) -> None:
        """Remove checkpoints that are neither among the newest `keep` nor the best, and incomplete ones."""
        if not self.ranks.leads:
            return
        for step in self.steps():
            restore_name(self.path_of(step))
        self._clear()
        best = self.best()
        kept = {*self.steps()[-self.keep :], *([best.step] if best else [])}
        for path in self.folder.glob("step-*"):
            match = STEP_NAME.fullmatch(path.name)
            if match and int(match.group(1)) not in kept and not path.is_symlink():
                path.rename(path.with_name(f".{path.name}.removed"))  # a partly removed one must not be found
        self._clear()
        self.follower.follow()

    def _clear(self) -> None:
        for path in self.folder.glob(".step-*"):
            shutil.rmtree(path, ignore_errors=True)


def resolve_checkpoint(path: Path) -> Path:
    """`path` itself if it is a checkpoint; for a folder of checkpoints the best, or else the newest."""
    if (complete_folder(path) / STATE_FILE).is_file():
        return complete_folder(path)
    checkpoints = Checkpoints(path, keep=1)
    best = checkpoints.best()
    return complete_folder(checkpoints.path_of(best.step)) if best else checkpoints.newest() or path


def load_resolved_checkpoint(path: Path) -> Checkpoint:
    """The checkpoint that `resolve_checkpoint` finds; ResumeError if there is none or it is damaged."""
    return load_checkpoint(resolve_checkpoint(path))


def run_folder_of(checkpoint: Path) -> Path | None:
    """The folder of the run that wrote a checkpoint; None for a checkpoint that was moved elsewhere."""
    run = checkpoint.resolve().parent.parent
    return run if checkpoint.resolve().parent == run / FOLDER and (run / CONFIG_FILE).is_file() else None
