"""Takes a run's state between two steps as a checkpoint, and restores a run from a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from schemas.errors import InputError
from trainer.checkpoint.files import Checkpoint, ResumeError
from trainer.checkpoint.rank_state import parts_of_rank, state_of_rank
from trainer.config import TrainConfig, split_changes
from trainer.cost.memory import synchronize
from trainer.encode.cutting import IntArray
from trainer.encode.live_rows import live_rows
from trainer.encode.plan import MaxAgeChange, PlannerState
from trainer.loop.parts import Parts
from trainer.loop.warm_start import token_identity
from trainer.model.frozen import weights_sha256
from trainer.optimise.optimiser import flat_optimiser, nested_optimiser
from trainer.setup.prepare import load_weights


@dataclass(slots=True)
class Position:
    """A run's progress: epochs done, packed steps done of the present epoch, optimisation steps done in total."""

    epoch: int = 0
    epoch_step: int = 0
    step: int = 0
    first_step: int = 0
    """steps of the earlier runs that this one continues with --init-from: planners count on from there"""

    @property
    def plan_step(self) -> int:
        """The planner's number of the next step. It decides coins, ages and seeds, and never repeats."""
        return self.first_step + self.step


class Snapshots:
    """Takes the checkpoints of one run; computes once what never changes in it."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        prepared = parts.prepared
        self._frozen_sha256 = weights_sha256(prepared.encoder.split)
        self._tokens = token_identity(prepared.directory.token_table())

    def take(self, position: Position, planner: PlannerState, more: Mapping[str, Any]) -> Checkpoint:
        """All state that later steps depend on, in host memory, where they do not change it. `planner`: as of the last
        step, since the planner itself is ahead; `more`: state of those who watch the run."""
        parts, manifest = self._parts, self._parts.prepared.directory.manifest
        moments, plain = flat_optimiser(parts.optimiser.state_dict())
        leads = parts.ranks.leads
        shared = {"model": parts.prepared.model.state_dict(), "optimiser": moments} if leads else {}
        constant = {"tokens": self._tokens} if leads else {}
        own = parts_of_rank(parts.ranks.rank, parts.table, planner, self._live_rows(position.plan_step, planner))
        return Checkpoint(
            tensors={**in_host_memory({**shared, **own}), **constant},
            state={
                "ranks": parts.ranks.world,
                "config": parts.prepared.config.to_dict(),
                "optimiser": plain,
                "position": asdict(position),
                "data": {
                    "manifest_sha256": parts.prepared.directory.manifest_sha256,
                    "inputs": manifest.inputs,
                    "tokenizer_sha256": manifest.tokens.tokenizer_sha256,
                    "tokenizer_content": manifest.tokens.tokenizer_content,
                },
                "frozen_sha256": self._frozen_sha256,
                "shortened": [list(change) for change in parts.watch.changes],
                **more,
            },
        )

    def _live_rows(self, step: int, planner: PlannerState) -> IntArray:
        parts = self._parts
        policy, max_age_steps = parts.prepared.config.planner.policy, parts.watch.max_age_at(step)
        return live_rows(policy, planner, step=step, max_age_steps=max_age_steps)


def in_host_memory(parts: Mapping[str, Mapping[str, Tensor]]) -> dict[str, dict[str, Tensor]]:
    """Copies in host memory; those from a GPU are pinned, and all of them are waited for once."""
    copies = {part: {name: _host_copy(tensor) for name, tensor in tensors.items()} for part, tensors in parts.items()}
    for device in {tensor.device for tensors in parts.values() for tensor in tensors.values()}:
        synchronize(device)
    return copies


def _host_copy(tensor: Tensor) -> Tensor:
    if tensor.device.type != "cuda":
        return tensor.detach().clone(memory_format=torch.contiguous_format)
    pinned = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    return pinned.copy_(tensor.detach(), non_blocking=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """A checkpoint's position, and the options that changed since, as 'run.epochs was 1 and is 2'."""

    position: Position
    planner: PlannerState
    changed: list[str]


def restore_parts(parts: Parts, checkpoint: Checkpoint) -> Restored:
    """Load `checkpoint` into the parts and return its position.

    ResumeError if it belongs to other data or another config, or lacks something.
    """
    try:
        return _restore_parts(parts, checkpoint)
    except (InputError, torch.OutOfMemoryError):
        raise
    except (AttributeError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ResumeError(f"the checkpoint is damaged: {error!r}. Use another one, or train again") from error


def _restore_parts(parts: Parts, checkpoint: Checkpoint) -> Restored:
    prepared = parts.prepared
    found, own_sha256 = checkpoint.state["data"]["manifest_sha256"], prepared.directory.manifest_sha256
    if found != own_sha256:
        raise ResumeError(
            f"the checkpoint was trained on packed directory {found[:12]}…, this one is {own_sha256[:12]}…"
        )
    before = TrainConfig.from_dict(checkpoint.state["config"])
    accepted, refused = split_changes(before, prepared.config)
    if refused:
        raise ResumeError(f"the checkpoint is of another config: {'; '.join(refused)}. Resume with its own")
    load_weights(prepared.model, checkpoint)
    parts.encode.follow()
    own = state_of_rank(checkpoint, parts.ranks, prepared.config.planner.policy, parts.table.vector_VD.shape)
    parts.table.load_state_dict(own.table)
    parts.planner.load_state_dict(own.planner)
    parts.watch.restore_changes([MaxAgeChange(*change) for change in checkpoint.state["shortened"]])
    _restore_optimiser(parts, checkpoint, steps=parts.steps_in(before.run.epochs))
    if own.random is not None:
        torch.set_rng_state(own.random)
    position = Position(**{name: int(number) for name, number in checkpoint.state["position"].items()})
    return Restored(position=position, planner=parts.planner.state_dict(), changed=accepted)


def _restore_optimiser(parts: Parts, checkpoint: Checkpoint, *, steps: int) -> None:
    """Load moments and schedule; extend the schedule where the run is longer. `steps`: of the checkpoint's run."""
    plain = {"stretches": [(0, steps)], **checkpoint.state["optimiser"]}  # an older feedloop extended no run
    parts.optimiser.load_state_dict(nested_optimiser(checkpoint.tensors["optimiser"], plain))
    if parts.optimiser.schedule.steps != steps:
        raise ValueError(f"a schedule of {parts.optimiser.schedule.steps} steps, for a run of {steps}")
    if parts.total_steps > steps:
        parts.optimiser.extend(parts.total_steps)
