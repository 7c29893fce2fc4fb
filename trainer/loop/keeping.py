"""Keeping: when a run saves, when an epoch is judged, and when training ends before its last epoch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from trainer.loop.checkpoint import load_checkpoint, of_checkpoint
from trainer.loop.distributed import leaders, summed
from trainer.loop.fitting import check_fits, check_log
from trainer.loop.flops import peak_flops
from trainer.loop.judging import model_auc
from trainer.loop.logs import RunLog
from trainer.loop.optimiser import NonFiniteError
from trainer.loop.retention import Best, Checkpoints, chosen
from trainer.loop.run import epoch_targets
from trainer.loop.trainer import Ask, Trainer, never


class Keeping:
    """Looks at a run between its steps and between its epochs, and never changes what they compute."""

    def __init__(
        self,
        trainer: Trainer,
        out: Path,
        *,
        asked_to_stop: Ask = never,
        told: Callable[[dict[str, Any]], None] = lambda _: None,
        judged: Callable[[int, float], None] = lambda *_: None,
    ) -> None:
        """`out` gets metrics.jsonl, whose lines are also `told`, and checkpoint/. `asked_to_stop`: after each step.
        `judged`: the step and AUC of each epoch that is. The leader alone tells both."""
        run, ranks = trainer.config.run, trainer.ranks
        self._trainer = trainer
        peak = peak_flops(trainer.device, bfloat16=run.precision == "bfloat16")
        self._log = RunLog(out / "metrics.jsonl", run.log_every_steps, trainer.total_steps, told, ranks, peak)
        self._judged = judged
        self._checkpoints = Checkpoints(out / "checkpoint", run.keep_checkpoints, ranks)
        self._asked_to_stop = asked_to_stop
        self._patience = run.early_stop_epochs
        self._best: Best | None = None
        self._epochs_since_best = 0
        self._saved_step = trainer.step
        self.stopped = False

    def go_on(self) -> Path | None:
        """Restore trainer and log from the newest checkpoint and return it; None where all begins."""
        steps = self._checkpoints.steps()
        step = int(leaders(steps[-1] if steps else -1, self._trainer.ranks))
        if step < 0:
            self._log.begin()
            return None
        newest = self._checkpoints.path_of(step)
        checkpoint = load_checkpoint(newest)
        fresh_log = self._log.state_dict()
        with of_checkpoint(newest):
            self._trainer.restore(checkpoint)
            check_fits(checkpoint, self._trainer)
            kept = checkpoint.state["keeping"]
            check_log(kept["log"], fresh_log)
            self._best = Best(**kept["best"]) if kept["best"] else None
            self._epochs_since_best = int(kept["epochs_since_best"])
        self._log.load_state_dict(kept["log"])
        self._saved_step = self._trainer.step
        if self._best is not None:  # a kill may have come between the checkpoint and the mark
            self._checkpoints.mark_best(self._best)
        self._checkpoints.sweep()
        return newest

    def fit(self) -> None:
        """Train to the end, or to where this ends it."""
        if self.ended_early:
            return
        try:
            self._trainer.fit(self._log, stop=self.after_step, epoch_ended=self.after_epoch)
        except NonFiniteError as error:
            newest = self._checkpoints.newest() or "not there: the run had saved none"
            raise NonFiniteError(f"{error} The last good checkpoint is {newest}") from error

    def after_step(self) -> bool:
        """Save if it is time to; True where the run is to stop here."""
        self.stopped = any(summed([float(self._asked_to_stop())]))  # a signal may reach one rank before the others
        every = self._trainer.config.run.save_every_steps
        if self.stopped or (every and self._trainer.step - self._saved_step >= every):
            self.save()
        return self.stopped

    def after_epoch(self) -> bool:
        """Save, and judge; True where so many epochs brought nothing that training ends."""
        step = self._trainer.step
        if self._patience:
            auc = leaders(model_auc(self._trainer.prepared), self._trainer.ranks)
            better = self._best is None or auc > self._best.auc
            self._best = Best(step=step, auc=auc) if better else self._best
            self._epochs_since_best = 0 if better else self._epochs_since_best + 1
            if self._trainer.ranks.leads:
                self._judged(step, auc)
        self.save()
        if self._best is not None and self._best.step == step:
            self._checkpoints.mark_best(self._best)
        return self.ended_early

    @property
    def ended_early(self) -> bool:
        """So many epochs brought nothing that there will be no other."""
        return 0 < self._patience <= self._epochs_since_best

    def summary(self) -> dict[str, Any]:
        """How far the run came, and its figures from its first step on."""
        where = str(chosen(self._checkpoints.folder))
        told = {
            "checkpoint": where,
            "complete": not self.stopped,
            "epochs": self._trainer.at.epoch,
            "precision": self._trainer.config.run.precision,
            **self._log.summary(),
        }
        return told if self._best is None else {**told, "best": asdict(self._best), "ended_early": self.ended_early}

    def save(self) -> Path:
        """Save the run as it stands between two packed steps."""
        self._saved_step = self._trainer.step
        best = None if self._best is None else asdict(self._best)
        kept = {"log": self._log.state_dict(), "best": best, "epochs_since_best": self._epochs_since_best}
        return self._checkpoints.save(self._trainer.checkpoint({"keeping": kept}), step=self._trainer.step)


def outline(trainer: Trainer) -> dict[str, Any]:
    """What a run would do, before its first step."""
    epochs = range(trainer.config.run.epochs)
    trained = sum(p.numel() for p in trainer.model.parameters() if p.requires_grad)
    return {
        "steps": trainer.total_steps,
        "epochs": len(epochs),
        "targets": sum(sum(epoch_targets(trainer.reader, epoch)) for epoch in epochs),
        "items": trainer.directory.manifest.tokens.rows - 1,
        "trained_parameters": trained,
        "device": str(trainer.device),
        "precision": trainer.config.run.precision,
    }
