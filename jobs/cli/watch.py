"""Watch: passes a training run's metrics to the progress bar and to the trackers that its options name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from jobs.cli.stopping import stop_requests
from jobs.cli.training import print_profile, print_stopped, training_bar
from jobs.tracking import curves, mlflow_run
from jobs.tracking.curves import Curves
from jobs.tracking.mlflow_run import MlflowRun
from jobs.tracking.step_profile import StepProfile
from schemas.errors import InputError
from trainer.loop.trainer import Trainer
from trainer.run_config import RunConfig

Line = dict[str, Any]


class Tracker(Protocol):
    """A destination for a run's metrics."""

    def line(self, line: Line) -> None:
        """Record a line of metrics.jsonl."""

    def evaluated(self, step: int, auc: float) -> None:
        """Record an epoch's AUC on the evaluation impressions, if epochs are evaluated."""

    def end(self, status: str) -> None:
        """Close with a status: FINISHED, KILLED (asked to stop) or FAILED."""


def check_trackers(run: RunConfig) -> None:
    """InputError where a library that the options need is not installed."""
    if run.tensorboard:
        curves.check()
    if run.mlflow:
        mlflow_run.check()


class Watch:
    """The callbacks of a TrainingSession; only the leader has trackers and a profile."""

    def __init__(self, trainer: Trainer, out: Path, *, bar: Callable[[Line], None], asked: Callable[[], bool]) -> None:
        self._trainer, self._out, self._bar, self._asked = trainer, out, bar, asked
        self._trackers: list[Tracker] = []
        self._profile: StepProfile | None = None
        self.status = "FINISHED"

    def begin(self) -> None:
        """Open the trackers and the profile that the options name, once the run is ready to begin or resume."""
        run, step = self._trainer.config.run, self._trainer.step
        if not self._trainer.ranks.leads:
            return
        if run.tensorboard:
            self._trackers.append(Curves(self._out, step=step))
        if run.mlflow:
            self._trackers.append(MlflowRun(self._trainer, self._out))
        if run.profile_steps:
            self._profile = StepProfile(self._out, first=step, steps=run.profile_steps)

    def line(self, line: Line) -> None:
        """Pass on a line of metrics.jsonl."""
        self._bar(line)
        for tracker in self._trackers:
            tracker.line(line)

    def evaluated(self, step: int, auc: float) -> None:
        """Pass on an epoch's AUC."""
        for tracker in self._trackers:
            tracker.evaluated(step, auc)

    def asked_to_stop(self) -> bool:
        """Whether to stop; called after each step."""
        if self._profile and (found := self._profile.after_step(self._trainer.step)):
            print_profile(found)
        return self._asked()

    def stopped(self) -> None:
        """Print and record that the run has stopped as requested."""
        print_stopped(self._trainer.step, self._trainer.total_steps)
        self.status = "KILLED"

    def end(self, status: str) -> None:
        """Close everything; print the profile of a run that ended while it was profiled."""
        if self._profile and (found := self._profile.end(self._trainer.step)):
            print_profile(found)
        for tracker in self._trackers:
            tracker.end(status)


@contextmanager
def watched(trainer: Trainer, out: Path) -> Iterator[Watch]:
    """Inside, the run is watched and can be asked to stop; afterwards its trackers have its status."""

    def doing() -> str:
        return f"step {trainer.step + 1} of {trainer.total_steps} and its checkpoint"

    with stop_requests(doing) as asked, training_bar() as bar:
        watch = Watch(trainer, out, bar=bar, asked=asked)
        try:
            yield watch
        except BaseException as error:
            try:
                watch.end("FAILED")
            except InputError as other:  # an unreachable store must not hide why the run failed
                error.add_note(str(other))
            raise
        watch.end(watch.status)
