"""Trainer: keeps the order of things in a run: read ahead, step, look at the drift, log, save."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from typing import Any

import torch
from torch import Tensor

from trainer.checkpoint.files import Checkpoint
from trainer.config import TrainConfig
from trainer.cost.memory import OutOfMemoryError, free_cached, reporting_full_memory
from trainer.cost.work import Lengths, WorkCounter, trained_shape
from trainer.data.position import steps_per_epoch
from trainer.data.prefetch import prefetch
from trainer.data.validation import Choice
from trainer.loop.metrics_log import RunLog
from trainer.loop.parts import make_parts
from trainer.loop.snapshot import Position, Snapshots, put_back
from trainer.loop.staleness import Drift, measure_drift, over_ranks
from trainer.loop.step import train_step
from trainer.loop.steps import PlannedStep, counted, epoch_weights, pinned, planned
from trainer.loop.totals import Totals
from trainer.optimise.optimiser import NonFiniteError
from trainer.ranks.process_group import ALONE, Ranks
from trainer.setup.prepare import Prepared

Ask = Callable[[], bool]


def never() -> bool:
    """Go on."""
    return False


def advice(config: TrainConfig) -> str:
    """What to lower where memory does not suffice; `--resume auto` takes each but the last, which is another run's."""
    kept = "all" if config.run.kept_chunks is None else config.run.kept_chunks
    return (
        f"Go on by --resume auto with a lower run.kept_chunks (now {kept}; 0 keeps no graph and costs a third more "
        f"work), which --run.auto-chunk finds by itself, or lower planner.chunk_sizes (now "
        f"{list(config.planner.chunk_sizes)}); or begin anew, in another --out, with a lower run.batches_per_step (now "
        f"{config.run.batches_per_step}), with --init-from where a checkpoint stands"
    )


UNMEASURED = "Go on by --resume auto with run.drift_every_steps = 0, which leaves out that measurement"


def milder(config: TrainConfig) -> str:
    """What to lower where a loss or a gradient is not finite."""
    rates = ("encoder_learning_rate", "learning_rate", "pooling_learning_rate")
    found = {name: getattr(config.optimiser, name) for name in rates}
    told = ", ".join(f"optimiser.{name} (now {rate:g})" for name, rate in found.items() if rate)
    return f"Go on by --resume auto with a lower {told}, or look at the batch."


class Trainer:
    """One run over one packed directory, on the device of this process, which may be one of several."""

    def __init__(self, prepared: Prepared, ranks: Ranks = ALONE, chosen_by: Sequence[Choice] = ()) -> None:
        """`chosen_by`: the impressions that chose what the model begins with."""
        self.chosen_by = tuple(chosen_by)
        self.parts = parts = make_parts(prepared, ranks)
        self.prepared, self.ranks = prepared, ranks
        self.config, self.directory = prepared.config, prepared.directory
        self.model, self.device = prepared.model, prepared.device
        self.reader, self.planner, self.table = parts.reader, parts.planner, parts.table
        self.optimiser, self.watch, self.total_steps = parts.optimiser, parts.watch, parts.total_steps
        self.at = Position()
        self._planner_state = self.planner.state_dict()
        self.changed: list[str] = []  # the options that are others than those of the checkpoint that it goes on from
        self._snapshots = Snapshots(parts)
        self._counter = WorkCounter(
            lengths=Lengths.of(prepared.directory.token_table()),
            shape=trained_shape(prepared.encoder.split),
            computed_shape=parts.encode.computed_shape,
            kept_chunks=prepared.config.run.kept_chunks,
        )

    @property
    def step(self) -> int:
        """Optimisation steps done."""
        return self.at.step

    def packed_steps(self) -> int:
        """Packed steps of the present epoch."""
        return steps_per_epoch(self.directory.superblock_sizes(self.at.epoch), self.reader.order)

    def epoch_steps(self, *, packed_steps: int | None = None) -> Generator[PlannedStep, None, None]:
        """What is left of the present epoch, or its next `packed_steps`, planned ahead in the loader thread."""
        epoch, done = self.at.epoch, self.at.epoch_step
        steps = planned(
            itertools.islice(self.reader.steps(epoch, first_step=done), packed_steps),
            self.planner,
            policy=self.config.planner.policy,
            samples_per_step=self.config.run.samples_per_step,
            first=self.at.step,
            weights=epoch_weights(self.reader, epoch, first_step=done),
            ranks=self.ranks,
            shared=self.parts.shares_encoding,
        )
        steps = counted(steps, self._counter)
        if self.device.type == "cuda":
            steps = pinned(steps)
        return prefetch(steps, depth=self.config.run.plan_ahead)

    def fit(self, log: RunLog, *, stop: Ask = never, epoch_ended: Ask = never) -> Totals:
        """Train to the end of the last epoch. `stop` is asked after each packed step, `epoch_ended` after each epoch:
        True ends the run there."""
        self.model.train()
        while self.at.epoch < self.config.run.epochs:
            with closing(log.arriving(self.epoch_steps())) as steps:
                for step in steps:
                    loss = self.take(step)
                    log.taken(step, loss, epoch=self.at.epoch, drift=self.drift(step), update=self.optimiser.last)
                    if step.completes and stop():
                        return log.totals
            self.at.epoch, self.at.epoch_step = self.at.epoch + 1, 0
            if epoch_ended():
                return log.totals
        return log.totals

    def take(self, step: PlannedStep) -> Tensor:
        """One optimisation step; the position moves on only when it is complete."""
        try:
            loss = self._within_memory(step)
        except NonFiniteError as error:
            place = f"step {step.plan.step}, epoch {self.at.epoch}, {self._place()}"
            raise NonFiniteError(f"{place}: {error} {milder(self.config)}") from error
        with reporting_full_memory(f"step {step.plan.step}", advice(self.config)):
            self.parts.encode.follow()
        self._planner_state.apply(step.plan.change)  # as of this step; the planner itself is ahead
        self.at.step += 1
        self.at.epoch_step += step.completes
        return loss

    def _within_memory(self, step: PlannedStep) -> Tensor:
        """The step, taken again with fewer chunks kept where run.auto_chunk says so and memory did not suffice."""
        head, table, optimiser = self.model["head"], self.table, self.optimiser
        taken = optimiser.taken
        while True:
            try:
                return train_step(
                    step.plan,
                    step.batch.to(self.device),
                    step.count,
                    table=table,
                    head=head,
                    optimiser=optimiser,
                )
            except torch.OutOfMemoryError as error:
                reason = str(error).partition("\n")[0]
            table.abandon()
            optimiser.zero_grad()
            self.parts.encode.forget()
            free_cached(self.device)
            # Other ranks would wait for one that begins again; an update, or half of one, cannot be taken back.
            as_it_was = optimiser.intact and optimiser.taken == taken
            may_retry = self.config.run.auto_chunk and self.ranks.world == 1 and as_it_was
            if not (may_retry and table.keep_fewer_chunks(len(step.plan.backward))):
                raise OutOfMemoryError(f"step {step.plan.step}: {reason}. {advice(self.config)}")

    def _place(self) -> str:
        """Which batches the present step is made of, for messages."""
        places = self.reader.places(self.at.epoch, first_step=self.at.epoch_step)[0]
        return "; ".join(f"{self.directory.place_of(at.superblock)}, its batch {at.index}" for at in places)

    def drift(self, step: PlannedStep) -> Drift | None:
        """On every run.drift_every_steps-th step: how far its looked-up vectors are from fresh ones."""
        every = self.config.run.drift_every_steps
        if not every or self.at.step % every:
            return None
        with reporting_full_memory(f"drift after step {step.plan.step}", UNMEASURED):
            found = measure_drift(self.prepared.encoder, self.prepared.items, self.table.vector_VD, step.plan)
        drift = over_ranks(found)
        if drift is not None:
            self.watch.apply(drift, step.plan.step)
        return drift

    def checkpoint(self, more: Mapping[str, Any] | None = None) -> Checkpoint:
        """The run as it stands, and `more` state of those who watch it. See Snapshots.take."""
        return self._snapshots.take(self.at, self._planner_state, more or {})

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go on where `checkpoint` stood. See put_back."""
        found = put_back(self.parts, checkpoint)
        self.at, self._planner_state, self.changed = found.position, found.planner, found.changed
