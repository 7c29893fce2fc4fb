"""The training loop, top to bottom: epoch, step, drift evaluation, log line, checkpoint."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing
from typing import Any

import torch
from torch import Tensor

from trainer.checkpoint.files import Checkpoint
from trainer.cost.memory import OutOfMemoryError, free_cached, reporting_full_memory
from trainer.cost.work import Lengths, WorkCounter, trained_shape
from trainer.data.prefetch import prefetch
from trainer.loop.advice import DRIFT_ADVICE, memory_advice, rate_advice
from trainer.loop.metrics_log import RunLog
from trainer.loop.parts import make_parts
from trainer.loop.snapshot import Position, Snapshots, restore_parts
from trainer.loop.staleness import Drift, measure_drift, over_ranks
from trainer.loop.step import train_step
from trainer.loop.steps import PlannedStep, StepMaker, planned
from trainer.loop.totals import Totals
from trainer.loop.warm_start import WarmStart
from trainer.optimise.optimiser import NonFiniteError
from trainer.ranks.late_vote import LateVote
from trainer.ranks.process_group import ALONE, Ranks
from trainer.setup.prepare import Prepared

StopCheck = Callable[[], bool]


def never() -> bool:
    """Never stops the run."""
    return False


class Trainer:
    """One run over one packed directory, on the device of this process, which may be one of several."""

    def __init__(self, prepared: Prepared, ranks: Ranks = ALONE, warm: WarmStart | None = None) -> None:
        """`warm`: what the run takes over from an earlier one, whose weights the model holds already."""
        self.chosen_by = () if warm is None else warm.chosen_by
        self.parts = parts = make_parts(prepared, ranks)
        self.prepared, self.ranks = prepared, ranks
        self.config, self.directory = prepared.config, prepared.directory
        self.model, self.device = prepared.model, prepared.device
        self.reader, self.planner, self.table = parts.reader, parts.planner, parts.table
        self.optimiser, self.watch, self.total_steps = parts.optimiser, parts.watch, parts.total_steps
        self.position = Position(first_step=0 if warm is None else warm.carry_into(parts))
        self._planner_state = self.planner.state_dict()
        self.changed: list[str] = []  # the options that differ from those of the checkpoint that the run resumes from
        self.asked_to_stop: StopCheck = never
        self._snapshots = Snapshots(parts)
        self._maker = StepMaker(
            parts.chunk_arrays,
            WorkCounter(
                lengths=Lengths.of(prepared.directory.token_table()),
                shape=trained_shape(prepared.encoder.split),
                kept_chunks=prepared.config.run.kept_chunks,
            ),
            pinned=self.device.type == "cuda",
        )
        self._unchecked: dict[int, tuple[int, int]] = {}  # steps not yet known to be finite -> epoch, step of the epoch
        self._stop_vote = LateVote()

    def fit(self, log: RunLog, *, after_step: StopCheck = never, after_epoch: StopCheck = never) -> Totals:
        """Train to the end of the last epoch.

        `after_step` is called after each packed step and saves where it is due; `after_epoch` is called after each
        epoch, evaluates and saves. If one of them returns True, the run ends there.
        """
        self.model.train()
        while self.position.epoch < self.config.run.epochs:
            if self._train_epoch(log, after_step):
                return log.totals
            self.position.epoch, self.position.epoch_step = self.position.epoch + 1, 0
            if after_epoch():
                return log.totals
        return log.totals

    def _train_epoch(self, log: RunLog, after_step: StopCheck) -> bool:
        """Take the steps that are left of the present epoch; True if `after_step` ended the run."""
        with closing(log.timed(self.epoch_steps())) as steps:
            for step in steps:
                loss = self.take_step(step)
                if log.writes_next():
                    self.check_finite()
                drift = self.evaluate_drift(step)
                log.record(step, loss, epoch=self.position.epoch, drift=drift, update=self.optimiser.last)
                if step.completes and after_step():
                    return True
        self.check_finite()
        return False

    def epoch_steps(self, *, packed_steps: int | None = None) -> Generator[PlannedStep, None, None]:
        """The steps that are left of the present epoch, or its next `packed_steps`, planned ahead in the loader
        thread."""
        steps = self.made_steps(packed_steps=packed_steps)
        if self.device.type == "cuda":
            steps = _on_gpu(torch.cuda.current_device(), steps)
        return prefetch(steps, depth=self.config.run.plan_ahead)

    def made_steps(self, *, packed_steps: int | None = None) -> Iterator[PlannedStep]:
        """The same steps, made in this thread."""
        epoch, done = self.position.epoch, self.position.epoch_step
        batches = self.reader.steps_by_rank(epoch, first_step=done, all_ranks=self.parts.shares_encoding)
        return planned(
            itertools.islice(batches, packed_steps),
            self.planner,
            self._maker,
            policy=self.config.planner.policy,
            samples_per_step=self.config.run.samples_per_step,
            first=self.position.plan_step,
            weights=self.reader.weights(epoch, first_step=done),
            ranks=self.ranks,
        )

    def take_step(self, step: PlannedStep) -> Tensor:
        """Take one optimisation step and return its loss sum; the position moves on only when it is complete.

        A loss or gradient that is not finite is found by the next `check_finite`; until then nothing changes.
        """
        alone = self.ranks.world == 1
        loss = self._train_within_memory(step, stop=not alone and self.asked_to_stop())
        if not alone:
            self._stop_vote.cast(self.optimiser.gradients.extra[2])
        with reporting_full_memory(f"step {self.step}", memory_advice(self.config)):
            self.parts.encode.follow()
        self._unchecked[step.plan.step] = (self.position.epoch, self.position.epoch_step)
        self._planner_state.apply(step.plan.change)  # as of this step; the planner itself is ahead
        self.position.step += 1
        self.position.epoch_step += step.completes
        return loss

    def stops(self) -> bool:
        """Whether this run is to stop after the present step; the same on every rank. Of several ranks, one may have
        asked for it in the step before."""
        return self.asked_to_stop() if self.ranks.world == 1 else self._stop_vote.passed()

    def check_finite(self) -> None:
        """NonFiniteError, with the step and its batches, if a loss or a gradient was not finite since the last call.

        Waits for the device.
        """
        found = self.parts.finite.found()
        if found is None:
            self._unchecked.clear()
            return
        epoch, epoch_step = self._unchecked[found.step]
        place = (
            f"step {found.step - self.position.first_step}, epoch {epoch}, {self._batches_of_step(epoch, epoch_step)}"
        )
        fault = "a gradient is not finite."
        if not math.isfinite(found.loss):
            fault = f"the loss is {found.loss}."
        elif found.elsewhere:
            fault = "another rank's loss is not finite."
        raise NonFiniteError(f"{place}: {fault} {rate_advice(self.config)}")

    def _train_within_memory(self, step: PlannedStep, *, stop: bool) -> Tensor:
        """Train on the step; if memory does not suffice and run.auto_chunk is on, again with fewer chunks kept."""
        head, table, optimiser = self.model["head"], self.table, self.optimiser
        taken = optimiser.taken
        while True:
            try:
                return train_step(
                    *step.to(self.device),
                    step.count,
                    table=table,
                    head=head,
                    optimiser=optimiser,
                    watch=self.parts.finite,
                    stop=stop,
                )
            except torch.OutOfMemoryError as error:
                reason = str(error).partition("\n")[0]
            table.abandon()
            optimiser.zero_grad()
            self.parts.encode.forget()
            free_cached(self.device)
            # Other ranks would wait for one that starts the step again; an update, or half of one, cannot be undone.
            unchanged = optimiser.intact and optimiser.taken == taken
            may_retry = self.config.run.auto_chunk and self.ranks.world == 1 and unchanged
            if not (may_retry and table.keep_fewer_chunks(len(step.plan.backward))):
                raise OutOfMemoryError(f"step {self.step}: {reason}. {memory_advice(self.config)}")

    def evaluate_drift(self, step: PlannedStep) -> Drift | None:
        """On every run.drift_every_steps-th step: how far its looked-up vectors are from fresh ones."""
        every = self.config.run.drift_every_steps
        if not every or self.step % every:
            return None
        with reporting_full_memory(f"drift after step {self.step - 1}", DRIFT_ADVICE):
            self.check_finite()
            found = measure_drift(self.prepared.encoder, self.prepared.items, self.table.vector_VD, step.plan)
        drift = over_ranks(found)
        if drift is not None:
            self.watch.apply(drift, step.plan.step)
        return drift

    def checkpoint(self, more: Mapping[str, Any] | None = None) -> Checkpoint:
        """The run's present state, and `more` state of those who watch it. See Snapshots.take."""
        self.check_finite()
        return self._snapshots.take(self.position, self._planner_state, more or {})

    def restore(self, checkpoint: Checkpoint) -> None:
        """Resume from `checkpoint`. See restore_parts."""
        found = restore_parts(self.parts, checkpoint)
        self.parts.finite.reset()
        self.position, self._planner_state, self.changed = found.position, found.planner, found.changed

    @property
    def step(self) -> int:
        """Optimisation steps done."""
        return self.position.step

    def packed_steps(self) -> int:
        """Packed steps of the present epoch."""
        return self.reader.steps_in(self.position.epoch)

    def _batches_of_step(self, epoch: int, epoch_step: int) -> str:
        """The batches of a packed step, for messages."""
        places = next(self.reader.places(epoch, first_step=epoch_step))
        return "; ".join(f"{self.directory.place_of(at.superblock)}, its batch {at.index}" for at in places)


def _on_gpu(number: int, steps: Iterator[PlannedStep]) -> Iterator[PlannedStep]:
    """The same steps; the thread that makes them pins memory for this GPU, not for the first one of the machine."""
    torch.cuda.set_device(number)
    yield from steps
