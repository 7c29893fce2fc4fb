"""Trainer: puts the parts of a run together and keeps the order of things: step, log, save."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Generator, Mapping
from contextlib import closing
from typing import Any

import torch
from torch import Tensor

from schemas.errors import InputError
from trainer.config import TrainConfig, changed_options
from trainer.data.backends import BACKENDS
from trainer.data.position import Order, steps_per_epoch
from trainer.data.prefetch import prefetch
from trainer.data.reader import Reader
from trainer.encode.plan import Shortening
from trainer.encode.planner import planner_of
from trainer.encode.vector_table import VectorTable
from trainer.loop.checkpoint import Checkpoint, ResumeError, flat_optimiser, nested_optimiser
from trainer.loop.distributed import ALONE, Ranks, sum_in_place
from trainer.loop.logs import RunLog, Totals
from trainer.loop.memory import OutOfMemoryError, free_cached
from trainer.loop.optimiser import NonFiniteError, Optimiser
from trainer.loop.prepare import Prepared, load_weights
from trainer.loop.rank_state import of_rank
from trainer.loop.run import PlannedStep, epoch_targets, epoch_weights, optimiser_steps, planned
from trainer.loop.staleness import Drift, StalenessWatch, measure_drift, over_ranks
from trainer.loop.step import train_step, trained_parameters
from trainer.loop.warm_start import token_identity
from trainer.model.frozen import weights_sha256

Ask = Callable[[], bool]


def never() -> bool:
    """Go on."""
    return False


def advice(config: TrainConfig) -> str:
    """What to lower where memory does not suffice."""
    kept = "all" if config.run.kept_chunks is None else config.run.kept_chunks
    return (
        f"Lower run.kept_chunks (now {kept}; 0 keeps no graph and costs a third more work), planner.chunk_sizes (now "
        f"{list(config.planner.chunk_sizes)}) or run.batches_per_step (now {config.run.batches_per_step}), "
        "or let --run.auto-chunk do the first"
    )


class Trainer:
    """One run over one packed directory, on the device of this process, which may be one of several."""

    def __init__(self, prepared: Prepared, ranks: Ranks = ALONE) -> None:
        config, directory, device = prepared.config, prepared.directory, prepared.device
        self.prepared = prepared
        items, encoder = prepared.items, prepared.encoder
        self.config = config
        self.directory = directory
        self.model = prepared.model
        self.device = device
        self.ranks = ranks
        run = config.run
        if ranks.world > 1 and config.planner.policy == "naive_per_target":
            raise InputError("naive_per_target cuts steps by samples, and so trains in one process only")
        self._shared = config.planner.share_encoding and ranks.world > 1
        reads = ALONE if self._shared else ranks  # who shares must know what all ask for
        order = Order(seed=run.seed, batches_per_step=run.batches_per_step, rank=reads.rank, world=reads.world)
        self.reader = Reader(directory, order, BACKENDS[run.reader])
        rows, costs = directory.manifest.tokens.rows, items.tokens_V
        self.planner = planner_of(
            config.planner, rows=rows, seed=run.seed, rank=ranks.rank, world=ranks.world, cost_V=costs
        )
        self.table = VectorTable(
            self._encoded,
            rows=rows,
            width=config.encoder.vector_width,
            device=device,
            kept_chunks=run.kept_chunks,
            dtype=next(encoder.project.parameters()).dtype,
            exchange=sum_in_place,
        )
        self.total_steps = sum(self._steps_of(epoch) for epoch in range(run.epochs))
        trained = trained_parameters(encoder, prepared.head)
        self.optimiser = Optimiser(
            config.optimiser, trained, steps=self.total_steps, encoder_factor=config.planner.encoder_rate_factor
        )
        self.epoch, self.epoch_step, self.step = 0, 0, 0
        self._planner_state = self.planner.state_dict()
        self.watch = StalenessWatch(config.planner, self.planner, plan_ahead=run.plan_ahead)
        self._frozen_sha256 = weights_sha256(encoder.split)
        self._token_identity = token_identity(directory.token_table())

    def _encoded(self, row_C: Tensor) -> Tensor:
        """Vectors (C, D) of the item rows, in the precision that the run multiplies in."""
        half = self.config.run.precision == "bfloat16"
        with torch.autocast(self.device.type, torch.bfloat16, enabled=half):
            return torch.as_tensor(self.prepared.encoder(row_C, self.prepared.items))

    def _steps_of(self, epoch: int) -> int:
        policy, samples = self.config.planner.policy, self.config.run.samples_per_step
        return optimiser_steps(epoch_targets(self.reader, epoch), policy, samples)

    def packed_steps(self) -> int:
        """Packed steps of the present epoch."""
        return steps_per_epoch(self.directory.superblock_sizes(self.epoch), self.reader.order)

    def epoch_steps(self, *, packed_steps: int | None = None) -> Generator[PlannedStep, None, None]:
        """What is left of the present epoch, or its next `packed_steps`, planned ahead in the loader thread."""
        steps = planned(
            itertools.islice(self.reader.steps(self.epoch, first_step=self.epoch_step), packed_steps),
            self.planner,
            policy=self.config.planner.policy,
            samples_per_step=self.config.run.samples_per_step,
            first=self.step,
            weights=epoch_weights(self.reader, self.epoch, first_step=self.epoch_step),
            ranks=self.ranks,
            shared=self._shared,
        )
        return prefetch(steps, depth=self.config.run.plan_ahead)

    def fit(self, log: RunLog, *, stop: Ask = never, epoch_ended: Ask = never) -> Totals:
        """Train to the end of the last epoch. `stop` is asked after each packed step, `epoch_ended` after each epoch:
        True ends the run there."""
        self.model.train()
        while self.epoch < self.config.run.epochs:
            with closing(log.arriving(self.epoch_steps())) as steps:
                for step in steps:
                    log.taken(step, self.take(step), epoch=self.epoch, drift=self.drift(step))
                    if step.completes and stop():
                        return log.totals
            self.epoch, self.epoch_step = self.epoch + 1, 0
            if epoch_ended():
                return log.totals
        return log.totals

    def take(self, step: PlannedStep) -> Tensor:
        """One optimisation step; the position moves on only when it is complete."""
        try:
            loss = self._within_memory(step)
        except NonFiniteError as error:
            place = f"step {step.plan.step}, epoch {self.epoch}, {self._place()}"
            raise NonFiniteError(f"{place}: {error} Lower the learning rate, or look at the batch.") from error
        self._planner_state = step.plan.state  # of this step, not of the planner, which is ahead
        self.step += 1
        self.epoch_step += step.completes
        return loss

    def _within_memory(self, step: PlannedStep) -> Tensor:
        """The step, taken again with fewer chunks kept where run.auto_chunk says so and memory did not suffice."""
        batch = step.batch.to(self.device)
        head, table, optimiser = self.model["head"], self.table, self.optimiser
        while True:
            try:
                return train_step(step.plan, batch, step.count, table=table, head=head, optimiser=optimiser)
            except torch.OutOfMemoryError as error:
                reason = str(error).partition("\n")[0]
            table.abandon()
            optimiser.zero_grad()
            free_cached(self.device)
            # Other ranks would wait for one that begins again; half an update cannot be taken back.
            may_retry = self.config.run.auto_chunk and self.ranks.world == 1 and optimiser.intact
            if not (may_retry and table.keep_fewer_chunks(len(step.plan.backward))):
                raise OutOfMemoryError(f"step {step.plan.step}: {reason}. {advice(self.config)}")

    def _place(self) -> str:
        """Which batches the present step is made of, for messages."""
        places = self.reader.places(self.epoch, first_step=self.epoch_step)[0]
        return "; ".join(f"{self.directory.place_of(at.superblock)}, its batch {at.index}" for at in places)

    def drift(self, step: PlannedStep) -> Drift | None:
        """On every run.drift_every_steps-th step: how far its looked-up vectors are from fresh ones."""
        every = self.config.run.drift_every_steps
        if not every or self.step % every:
            return None
        drift = over_ranks(measure_drift(self.prepared.encoder, self.prepared.items, self.table.vector_VD, step.plan))
        if drift is not None:
            self.watch.heed(drift, step.plan.step)
        return drift

    def checkpoint(self, more: Mapping[str, Any] | None = None) -> Checkpoint:
        """Everything that changes what comes after, and `more` state of those who watch the run."""
        moments, plain = flat_optimiser(self.optimiser.state_dict())
        rank = self.ranks.rank
        own = {
            f"table-{rank}": self.table.state_dict(),
            f"planner-{rank}": {name: torch.from_numpy(a) for name, a in self._planner_state.arrays().items()},
            f"random-{rank}": {"torch": torch.get_rng_state()},
        }
        shared: dict[str, dict[str, Tensor]] = {}
        if self.ranks.leads:
            shared = {"model": self.model.state_dict(), "optimiser": moments, "tokens": self._token_identity}
        return Checkpoint(
            tensors={**shared, **own},
            state={
                "ranks": self.ranks.world,
                "config": self.config.to_dict(),
                "optimiser": plain,
                "position": {"epoch": self.epoch, "epoch_step": self.epoch_step, "step": self.step},
                "data": {
                    "manifest_sha256": self.directory.manifest_sha256,
                    "inputs": self.directory.manifest.inputs,
                    "tokenizer_sha256": self.directory.manifest.tokens.tokenizer_sha256,
                },
                "frozen_sha256": self._frozen_sha256,
                "shortened": [list(change) for change in self.watch.changes],
                **(more or {}),
            },
        )

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go on where `checkpoint` stood; ResumeError if it is of other data, of another config, or lacks something."""
        try:
            self._restore(checkpoint)
        except InputError:
            raise
        except (AttributeError, KeyError, TypeError, ValueError, RuntimeError) as error:
            raise ResumeError(f"the checkpoint is damaged: {error!r}. Use another one, or train again") from error

    def _restore(self, checkpoint: Checkpoint) -> None:
        found, mine = checkpoint.state["data"]["manifest_sha256"], self.directory.manifest_sha256
        if found != mine:
            raise ResumeError(f"the checkpoint was trained on packed directory {found[:12]}…, this one is {mine[:12]}…")
        if other := changed_options(TrainConfig.from_dict(checkpoint.state["config"]), self.config):
            raise ResumeError(f"the checkpoint is of another config: {'; '.join(other)}. Go on with its own")
        load_weights(self.model, checkpoint)
        own = of_rank(checkpoint, self.ranks, self.config.planner.policy)
        self.table.load_state_dict(dict(own.table))
        self._planner_state = own.planner
        self.planner.load_state_dict(own.planner)
        self.watch.go_on([Shortening(*change) for change in checkpoint.state["shortened"]])
        self.optimiser.load_state_dict(nested_optimiser(checkpoint.tensors["optimiser"], checkpoint.state["optimiser"]))
        if own.random is not None:
            torch.set_rng_state(own.random)
        position = checkpoint.state["position"]
        self.epoch, self.epoch_step, self.step = (int(position[name]) for name in ("epoch", "epoch_step", "step"))
