"""Retention: the checkpoints of a run, one folder each; the newest few and the best are kept."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

from schemas.space import space_for
from trainer.loop.checkpoint import STATE_FILE, Checkpoint, ResumeError, load_checkpoint, save_checkpoint
from trainer.loop.distributed import ALONE, Ranks

_NAME = re.compile(r"step-([0-9]{8,18})")
_BEST = "best.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Best:
    """The epoch after which the evaluation impressions were ranked best."""

    step: int
    auc: float

    def __post_init__(self) -> None:
        if type(self.step) is not int or type(self.auc) not in (int, float):
            raise TypeError(f"a best step {self.step!r:.20} with AUC {self.auc!r:.20}")


@dataclass(frozen=True, slots=True)
class Checkpoints:
    """`folder` holds step-00000120, ... and, where epochs are judged, best.json. One run writes it at a time."""

    folder: Path
    keep: int
    ranks: Ranks = ALONE
    """only the leader marks and removes; all must call save"""

    def save(self, checkpoint: Checkpoint, *, step: int) -> Path:
        """Write the checkpoint of `step`, then remove those that need not be kept."""
        path = self.path_of(step)
        save_checkpoint(checkpoint, path, self.ranks)
        self.sweep()
        return path

    def path_of(self, step: int) -> Path:
        """Where the checkpoint of `step` stands."""
        return self.folder / f"step-{step:08d}"

    def steps(self) -> list[int]:
        """Steps of the complete checkpoints, ascending."""
        found = ((path, _NAME.fullmatch(path.name)) for path in self.folder.glob("step-*"))
        steps = (int(match.group(1)) for path, match in found if match and (path / STATE_FILE).is_file())
        return sorted({step for step in steps if (self.path_of(step) / STATE_FILE).is_file()})

    def newest(self) -> Path | None:
        """The latest complete checkpoint."""
        steps = self.steps()
        return self.path_of(steps[-1]) if steps else None

    def best(self) -> Best | None:
        """What mark_best said last, if its checkpoint is there."""
        file = self.folder / _BEST
        if not file.is_file():
            return None
        try:
            best = Best(**json.loads(file.read_text("utf-8")))
        except (TypeError, ValueError, RecursionError) as error:
            raise ResumeError(
                f"{file}: not what a run writes ({repr(error)[:80]}). Remove it: the newest checkpoint then stands "
                "for the best"
            ) from error
        return best if best.step in self.steps() else None

    def mark_best(self, best: Best) -> None:
        """From now on the checkpoint of `best.step`, which is there, is the best."""
        if not self.ranks.leads:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        partial = self.folder / f".{_BEST}"
        with space_for(self.folder / _BEST):
            partial.write_text(json.dumps(asdict(best)) + "\n")
        partial.replace(self.folder / _BEST)
        self.sweep()

    def sweep(self) -> None:
        """Remove what is neither among the newest `keep` nor the best, and what a killed process left half done."""
        if not self.ranks.leads:
            return
        best = self.best()
        kept = {*self.steps()[-self.keep :], *([best.step] if best else [])}
        for path in self.folder.glob("step-*"):
            match = _NAME.fullmatch(path.name)
            if match and int(match.group(1)) not in kept:
                shutil.rmtree(path, ignore_errors=True)
        for path in self.folder.glob(".step-*"):
            shutil.rmtree(path, ignore_errors=True)


def chosen(path: Path) -> Path:
    """`path` itself if it is a checkpoint; of a folder of checkpoints the best, or else the newest."""
    if (path / STATE_FILE).is_file():
        return path
    checkpoints = Checkpoints(path, keep=1)
    best = checkpoints.best()
    return checkpoints.path_of(best.step) if best else checkpoints.newest() or path


def load_chosen(path: Path) -> Checkpoint:
    """The checkpoint that `chosen` finds; ResumeError if there is none or it is damaged."""
    return load_checkpoint(chosen(path))
