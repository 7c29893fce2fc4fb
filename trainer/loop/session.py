"""TrainingSession: decides when a run saves, when an epoch is evaluated, and when training ends early."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from trainer.checkpoint.background import Background
from trainer.checkpoint.files import Checkpoint, checkpoint_errors
from trainer.checkpoint.retention import FOLDER, NO_FOLLOWER, Best, Checkpoints, Follower, resolve_checkpoint
from trainer.checkpoint.selection import choices_of
from trainer.cost.flops import peak_flops
from trainer.cost.memory import reporting_full_memory
from trainer.data.validation import Choice, all_of, validation_of
from trainer.eval.evaluate import NO_CHOICE, model_auc
from trainer.loop.compatibility import check_log, check_position
from trainer.loop.metrics_log import RunLog
from trainer.loop.trainer import StopCheck, Trainer, never
from trainer.optimise.optimiser import NonFiniteError
from trainer.ranks.process_group import broadcast_from_leader, meeting_of_threads


@dataclass(frozen=True, slots=True)
class Changes:
    """Options that changed from `step` on, as 'run.epochs was 1 and is 2'."""

    step: int
    options: tuple[str, ...]

    def __post_init__(self) -> None:
        if type(self.step) is not int or not all(isinstance(option, str) for option in self.options):
            raise TypeError(f"changes of options {self.options!r:.80} at step {self.step!r:.20}")


class TrainingSession:
    """Saves and evaluates a run between its steps and epochs; never changes what they compute.

    A checkpoint is copied to host memory between two steps, and written by a thread during those that follow, one at a
    time. What needs it on disk comes after that: its mark as the best, its copy behind a URL, the next checkpoint, and
    the end of the run, whatever ends it.
    """

    def __init__(
        self,
        trainer: Trainer,
        out: Path,
        *,
        asked_to_stop: StopCheck = never,
        on_line: Callable[[dict[str, Any]], None] = lambda _: None,
        on_evaluation: Callable[[int, float], None] = lambda *_: None,
        follower: Follower = NO_FOLLOWER,
    ) -> None:
        """`out` gets metrics.jsonl and checkpoint/. `on_line` gets each line of metrics.jsonl, `on_evaluation` the step
        and AUC of each evaluated epoch; only the leader calls both and has a `follower`. `asked_to_stop` is called
        after each step."""
        run, ranks = trainer.config.run, trainer.ranks
        self._trainer = trainer
        peak = peak_flops(trainer.device, bfloat16=run.precision == "bfloat16")
        metrics, device = out / "metrics.jsonl", trainer.device
        self._log = RunLog(metrics, run.log_every_steps, trainer.total_steps, on_line, ranks, peak, device)
        self._on_evaluation = on_evaluation
        self._checkpoints = Checkpoints(out / FOLDER, run.keep_checkpoints, ranks, follower)
        self._saving, self._meet = Background("saving"), meeting_of_threads()
        trainer.asked_to_stop = asked_to_stop
        self._patience = run.early_stop_epochs
        self.choice: Choice | None = None
        if self._patience:
            self._validation, self.choice = validation_of(trainer.directory.evaluation(), run.validate)
        self._validated_by = None if self.choice is None else asdict(self.choice)
        self._chosen_by = list(trainer.chosen_by)
        self._best: Best | None = None
        self._epochs_since_best = 0
        self._saved_step = trainer.step
        self.stopped = False
        self.passed_over: list[str] = []
        """why checkpoints newer than the one that the run resumes from are not used"""
        self.changes: list[Changes] = []
        """the options that it was resumed with, the latest last"""

    def resume(self) -> Path | None:
        """Restore trainer and log from the newest intact checkpoint and return its path; None if there is none."""
        checkpoint, self.passed_over = self._checkpoints.newest_intact()
        if checkpoint is None:
            self._log.begin()
            return None
        fresh_log = self._log.state_dict()
        with checkpoint_errors(checkpoint.path):
            self._trainer.restore(checkpoint)
            check_position(checkpoint, self._trainer)
            saved = checkpoint.state["keeping"]
            check_log(saved["log"], fresh_log)
            self._resume_selection(checkpoint, saved)
            self.changes = [Changes(change["step"], tuple(change["options"])) for change in saved.get("changes", [])]
        if self._trainer.changed:
            self.changes.append(Changes(step=self._trainer.step, options=tuple(self._trainer.changed)))
        self._log.load_state_dict(saved["log"])
        self._saved_step = self._trainer.step
        if self._best is not None:  # a kill may have separated the checkpoint from its mark
            self._checkpoints.mark_best(self._best)
        self._checkpoints.sweep()
        return checkpoint.path

    def _resume_selection(self, checkpoint: Checkpoint, saved: Mapping[str, Any]) -> None:
        """Restore the best epoch so far, unless other impressions choose from here on."""
        choices = choices_of(checkpoint)
        self._chosen_by = [all_of(self._trainer.directory.evaluation())] if choices is None else choices
        before = saved.get("validation")
        if self.choice is None:
            self._validated_by = before
        elif saved["best"] and before != self._validated_by:
            return
        self._best = Best(**saved["best"]) if saved["best"] else None
        self._epochs_since_best = int(saved["epochs_since_best"])

    def fit(self) -> None:
        """Train to the end, or until this session ends the run."""
        if self.ended_early:
            return
        try:
            with self._saving:
                self._trainer.fit(self._log, after_step=self.after_step, after_epoch=self.after_epoch)
                self.wait_until_saved()
        except NonFiniteError as error:
            newest = self._checkpoints.newest() or "not there: the run had saved none"
            raise NonFiniteError(f"{error} The last good checkpoint is {newest}") from error

    def after_step(self) -> bool:
        """Save if a checkpoint is due; True if the run is to stop here. Raises what kept the last one from the disk."""
        self._saving.check()
        self.stopped = self._trainer.stops()
        every = self._trainer.config.run.save_every_steps
        if self.stopped or (every and self._trainer.step - self._saved_step >= every):
            self.save()
        return self.stopped

    def after_epoch(self) -> bool:
        """Evaluate and save; True if run.early_stop_epochs epochs brought no better AUC, so that training ends."""
        step = self._trainer.step
        if self._patience:
            no_memory = reporting_full_memory(f"the evaluation after step {step}", NO_CHOICE)
            with no_memory, self._log.spending("evaluating_seconds"):
                own_auc = model_auc(self._trainer.prepared, self._validation)
            if self.choice is not None and self.choice not in self._chosen_by:
                self._chosen_by.append(self.choice)
            auc = broadcast_from_leader(own_auc, self._trainer.ranks)
            better = self._best is None or auc > self._best.auc
            self._best = Best(step=step, auc=auc) if better else self._best
            self._epochs_since_best = 0 if better else self._epochs_since_best + 1
            if self._trainer.ranks.leads:
                self._on_evaluation(step, auc)
        self.save()
        return self.ended_early

    @property
    def ended_early(self) -> bool:
        """Whether the last run.early_stop_epochs epochs brought no better AUC, so that no other follows."""
        return 0 < self._patience <= self._epochs_since_best

    def summary(self) -> dict[str, Any]:
        """How far the run came, and its figures from its first step on."""
        summary = {
            "checkpoint": str(resolve_checkpoint(self._checkpoints.folder)),
            "complete": not self.stopped,
            "epochs": self._trainer.position.epoch,
            **({"passed_over": self.passed_over} if self.passed_over else {}),
            **({"changes": [asdict(change) for change in self.changes]} if self.changes else {}),
            "precision": self._trainer.config.run.precision,
            **self._log.summary(),
        }
        if self._best is None:
            return summary
        chosen_by = [asdict(choice) for choice in self._chosen_by]
        return {**summary, "best": asdict(self._best), "ended_early": self.ended_early, "chosen_by": chosen_by}

    def save(self) -> Path:
        """Save the run's present state, between two packed steps. The path is complete after `wait_until_saved`."""
        with self._log.spending("saving_seconds"):
            self._saving.wait()
            step, checkpoint = self._trainer.step, self._trainer.checkpoint({"keeping": self._state_dict()})
            best = self._best if self._best is not None and self._best.step == step else None
            self._saving.start(lambda: self._write(checkpoint, step, best))
        self._saved_step = step
        return self._checkpoints.path_of(step)

    def wait_until_saved(self) -> None:
        """Return when the last checkpoint is complete; raises what kept it from the disk."""
        with self._log.spending("saving_seconds"):
            self._saving.wait()

    def _write(self, checkpoint: Checkpoint, step: int, best: Best | None) -> None:
        """In the saving thread: the checkpoint, and its mark if it is the best."""
        self._checkpoints.save(checkpoint, step=step, meet=self._meet)
        if best is not None:
            self._checkpoints.mark_best(best)

    def _state_dict(self) -> dict[str, Any]:
        best = None if self._best is None else asdict(self._best)
        return {
            "log": self._log.state_dict(),
            "best": best,
            "epochs_since_best": self._epochs_since_best,
            "changes": [asdict(change) for change in self.changes],
            "validation": self._validated_by,
            "chosen_by": [asdict(choice) for choice in self._chosen_by],
        }


def outline(trainer: Trainer) -> dict[str, Any]:
    """The size of a run before its first step: steps, targets, items, parameters."""
    epochs = range(trainer.config.run.epochs)
    trained = sum(p.numel() for p in trainer.model.parameters() if p.requires_grad)
    return {
        "steps": trainer.total_steps,
        "epochs": len(epochs),
        "targets": sum(sum(trainer.reader.targets(epoch)) for epoch in epochs),
        "items": trainer.directory.manifest.tokens.rows - 1,
        "trained_parameters": trained,
        "device": str(trainer.device),
        **_validation(trainer),
        "precision": trainer.config.run.precision,
    }


def _validation(trainer: Trainer) -> dict[str, Any]:
    run = trainer.config.run
    if not run.early_stop_epochs:
        return {}
    return {"validation": asdict(validation_of(trainer.directory.evaluation(), run.validate)[1])}
