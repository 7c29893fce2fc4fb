"""Watch: hands on what a training run tells, to the bar on the terminal and to the trackers that its options name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from jobs.cli.stopping import stop_requests
from jobs.cli.training import tell_profile, tell_stopped, training_bar
from jobs.tracking import curves, mlflow_run
from jobs.tracking.curves import Curves
from jobs.tracking.mlflow_run import MlflowRun
from jobs.tracking.step_profile import StepProfile
from schemas.errors import InputError
from trainer.loop.trainer import Trainer
from trainer.run_config import RunConfig

Line = dict[str, Any]


class Tracker(Protocol):
    """Where a run is told."""

    def line(self, line: Line) -> None:
        """A line of metrics.jsonl."""

    def evaluated(self, step: int, auc: float) -> None:
        """An epoch's AUC on the evaluation impressions, if epochs are evaluated."""

    def end(self, status: str) -> None:
        """FINISHED, KILLED (asked to stop) or FAILED."""


def check_trackers(run: RunConfig) -> None:
    """InputError where a library is not installed that the options ask for."""
    if run.tensorboard:
        curves.check()
    if run.mlflow:
        mlflow_run.check()


class Watch:
    """What TrainingSession asks and tells; the leader alone has trackers and a profile."""

    def __init__(self, trainer: Trainer, out: Path, *, bar: Callable[[Line], None], asked: Callable[[], bool]) -> None:
        self._trainer, self._out, self._bar, self._asked = trainer, out, bar, asked
        self._trackers: list[Tracker] = []
        self._profile: StepProfile | None = None
        self.status = "FINISHED"

    def begin(self) -> None:
        """The run stands where it begins or goes on: open what its options name."""
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
        """A line of metrics.jsonl."""
        self._bar(line)
        for tracker in self._trackers:
            tracker.line(line)

    def evaluated(self, step: int, auc: float) -> None:
        """An epoch's AUC."""
        for tracker in self._trackers:
            tracker.evaluated(step, auc)

    def asked_to_stop(self) -> bool:
        """Asked after each step."""
        if self._profile and (found := self._profile.after_step(self._trainer.step)):
            tell_profile(found)
        return self._asked()

    def stopped(self) -> None:
        """The run was asked to stop, and did."""
        tell_stopped(self._trainer.step, self._trainer.total_steps)
        self.status = "KILLED"

    def end(self, status: str) -> None:
        """Close everything; of a run that ended while it was profiled, tell what was found."""
        if self._profile and (found := self._profile.end(self._trainer.step)):
            tell_profile(found)
        for tracker in self._trackers:
            tracker.end(status)


@contextmanager
def watched(trainer: Trainer, out: Path) -> Iterator[Watch]:
    """Inside, the run is watched and can be asked to stop; afterwards its trackers know how it ended."""

    def doing() -> str:
        return f"step {trainer.step + 1} of {trainer.total_steps} and its checkpoint"

    with stop_requests(doing) as asked, training_bar() as bar:
        watch = Watch(trainer, out, bar=bar, asked=asked)
        try:
            yield watch
        except BaseException as error:
            try:
                watch.end("FAILED")
            except InputError as other:  # a store that is gone must not hide why the run failed
                error.add_note(str(other))
            raise
        watch.end(watch.status)
