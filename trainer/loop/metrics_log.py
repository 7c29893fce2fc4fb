"""Writes one JSON line per logging step to metrics.jsonl, passes it to a callback, and sums up the run."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor

from schemas.regular_file import read_bytes
from schemas.space import space_for
from schemas.strict_json import Count, converted, json_lines, null_nonfinite
from trainer.checkpoint.files import ResumeError
from trainer.cost.memory import synchronize
from trainer.loop.staleness import Drift
from trainer.loop.steps import PlannedStep
from trainer.loop.totals import Spent, Totals
from trainer.optimise.optimiser import Update
from trainer.ranks.process_group import ALONE, Ranks, summed

_LARGEST = 1 << 30  # bytes of metrics.jsonl


@dataclass(slots=True)
class RunLog:
    """Writes metrics.jsonl. Losses and norms stay tensors until a logging step, so that no other step waits for the
    device. `peak_flops`: of this rank's device, per second; 0 = unknown, and MFU is not reported.

    A stopwatch splits all time from construction on into that of steps and that of starting, evaluating and saving. It
    waits for the device before it switches and before a line, so that queued steps count as steps."""

    path: Path
    every: int
    total_steps: int
    on_line: Callable[[dict[str, Any]], None] = lambda _: None
    ranks: Ranks = ALONE
    peak_flops: float = 0.0
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    totals: Totals = field(default_factory=Totals)
    last_loss: float | None = None
    """loss of the last line; None before the first"""
    drifts: list[Drift] = field(default_factory=list)
    _since: Totals = field(default_factory=Totals)
    _losses: list[Tensor | float] = field(default_factory=list)
    _norms: dict[str, list[Tensor | float]] = field(default_factory=dict)
    _rate_factor: float | None = None
    _counts: float = 0.0
    _waited: float = 0.0
    _step_seconds: list[float] = field(default_factory=list)
    """of each line: the mean of its steps"""
    _spent_on: Spent = "starting_seconds"
    _mark: float = field(init=False)

    def __post_init__(self) -> None:
        self._mark = time.perf_counter()

    def begin(self) -> None:
        """Remove the lines of a run that left no checkpoint."""
        if self.ranks.leads:
            self.path.unlink(missing_ok=True)

    def state_dict(self) -> dict[str, Any]:
        """The checkpoint's state, as plain values: the sums so far and those since the last line of metrics.jsonl."""
        self._switch(self._spent_on)
        return {
            "totals": asdict(self.totals.over_ranks()),
            "since": asdict(self._since.over_ranks()),
            "losses": summed([float(loss) for loss in self._losses]),
            "norms": {part: [float(norm) for norm in norms] for part, norms in self._norms.items()},
            "counts": self._counts,
            "last_loss": self.last_loss,
            "drift": asdict(self.drifts[-1]) if self.drifts else None,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Resume from `state`. Removes from metrics.jsonl the lines of later steps, which will be taken again."""
        self._counts, self.last_loss = state["counts"], state["last_loss"]
        self.drifts = [Drift(**state["drift"])] if state["drift"] else []
        self.totals, self._since = Totals(**state["totals"]), Totals(**state["since"])
        self._losses = list(state["losses"])
        self._norms = {part: list(norms) for part, norms in state.get("norms", {}).items()}
        if not self.ranks.leads:  # the leader alone holds the restored sums, so that they count once
            self.totals, self._since = self.totals.steps_and_seconds(), self._since.steps_and_seconds()
            self._losses = [0.0] * len(self._losses)
            return
        kept = [line for step, line in _logged_lines(self.path) if step <= self.totals.steps]
        partial = self.path.with_name(f".{self.path.name}")
        text = "".join(f"{line}\n" for line in kept)
        with space_for(self.path, len(text)):
            partial.write_text(text)
        partial.replace(self.path)

    def summary(self) -> dict[str, Any]:
        """The run's figures: sums over all steps and ranks, the last loss and drift; a step's median seconds are those
        of the lines since the run began or resumed. All ranks must call this."""
        self._switch(self._spent_on)
        totals = self.totals.over_ranks()
        drift = {f"drift_{key}": value for key, value in asdict(self.drifts[-1]).items()} if self.drifts else {}
        # A run that stopped between two lines reports the loss of the steps since the last line.
        loss = self._loss_since() if self._losses else self.last_loss
        step_seconds = median(self._step_seconds) if self._step_seconds else None
        figures = {**totals.figures(peak_flops=self._peak()), "median_step_seconds": step_seconds}
        return {"loss": loss, **figures, **asdict(totals), **drift}

    def timed(self, steps: Generator[PlannedStep, None, None]) -> Generator[PlannedStep, None, None]:
        """The same steps; measures how long the loop waits for each. The first one ends the start.

        On a GPU the wait is an upper bound: the host runs ahead, and waits while the device still works.
        """
        self._switch("seconds")
        with closing(steps):
            while True:
                began = time.perf_counter()
                step = next(steps, None)
                self._waited = time.perf_counter() - began
                if step is None:
                    return
                yield step

    def record(
        self, step: PlannedStep, loss: Tensor, *, epoch: int, drift: Drift | None = None, update: Update | None = None
    ) -> None:
        """Count a finished step; write a line on logging steps and on the last. `drift`: None where not measured."""
        writes = self.writes_next()
        self.drifts += [] if drift is None else [drift]
        for totals in (self.totals, self._since):
            totals.add(step, waited=self._waited)
        self._losses.append(loss)
        self._counts += step.count
        if update is not None:
            self._rate_factor = update.rate_factor
            for part, norm in update.norms.items():
                self._norms.setdefault(part, []).append(norm)
        if writes:
            self._switch("seconds")
            self._write(self.totals.steps, epoch)

    def writes_next(self) -> bool:
        """Whether the next `record` writes a line, for which it reads losses from the device."""
        done = self.totals.steps + 1
        return done % self.every == 0 or done == self.total_steps

    @contextmanager
    def spending(self, what: Spent) -> Iterator[None]:
        """Inside, time is counted as `what`."""
        before = self._spent_on
        self._switch(what)
        yield
        self._switch(before)

    def _switch(self, what: Spent) -> None:
        """Count the time since the last switch, and count as `what` from here on."""
        synchronize(self.device)
        now = time.perf_counter()
        for totals in (self.totals, self._since):
            totals.spend(self._spent_on, now - self._mark)
        self._spent_on, self._mark = what, now

    def _write(self, done: int, epoch: int) -> None:
        loss = self._loss_since()
        since, peak = self._since.over_ranks(), self._peak()
        self._step_seconds.append(since.seconds / max(since.steps, 1))
        norms = {f"gradient_norm_{part}": _mean(self._norms.get(part, [])) for part in ("encoder", "head")}
        self.last_loss = loss
        self._since, self._losses, self._norms, self._counts = Totals(), [], {}, 0.0
        if not self.ranks.leads:
            return
        line: dict[str, Any] = {
            "step": done,
            "steps": self.total_steps,
            "epoch": epoch,
            "loss": loss,
            **since.figures(peak_flops=peak),
            "learning_rate_factor": self._rate_factor,
            **norms,
            **{key: value for key, value in asdict(since).items() if key != "steps"},
            **({f"drift_{key}": value for key, value in asdict(self.drifts[-1]).items()} if self.drifts else {}),
        }
        text = json.dumps(null_nonfinite(line), allow_nan=False) + "\n"
        with space_for(self.path, len(text)), self.path.open("a") as stream:
            stream.write(text)
        self.on_line(line)

    def _loss_since(self) -> float:
        """Loss per target over all ranks since the last line. All ranks must call this."""
        return sum(summed([float(loss) for loss in self._losses])) / max(self._counts, 1e-9)

    def _peak(self) -> float:
        """Peak multiplications per second of all ranks' devices together."""
        return summed([self.peak_flops])[0]


def _mean(norms: Sequence[Tensor | float]) -> float | None:
    """The mean norm; None where nothing was updated."""
    return sum(float(norm) for norm in norms) / len(norms) if norms else None


@dataclass(frozen=True, slots=True)
class _Line:
    """The fields of a metrics.jsonl line that resuming needs."""

    step: Count


def _logged_lines(path: Path) -> list[tuple[int, str]]:
    """The lines of metrics.jsonl with their steps, without a last line that a kill cut short. ResumeError names a line
    that no run writes."""
    if not os.path.lexists(path):
        return []
    error_options: dict[str, Any] = {"advice": "Remove that line, or the file", "error": ResumeError}
    text = read_bytes(path, largest=_LARGEST, **error_options)
    lines = text.split(b"\n")[:-1]
    values = enumerate(json_lines(text, str(path), **error_options), start=1)
    steps = [
        converted(value, _Line, f"{path}, line {n}", unknown="ignored", **error_options).step for n, value in values
    ]
    return [(step, line.decode()) for step, line in zip(steps, lines, strict=True)]
