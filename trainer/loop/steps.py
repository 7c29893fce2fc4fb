"""Reads a run's steps, shapes them for the policy, plans them and makes tensors, in the loader thread."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from trainer.cost.work import NO_WORK, Work, WorkCounter
from trainer.data.batch import StepBatch, asked_of, cut_samples, merge, per_occurrence, per_target
from trainer.data.parcel import Parcel
from trainer.data.reader import Reader
from trainer.data.tensors import StepTensors, head_arrays
from trainer.encode.chunks import Chunk
from trainer.encode.placed import PlacedPlan, chunks_used, index_arrays
from trainer.encode.plan import Plan, Planner
from trainer.encode.policies import Policy
from trainer.model.encoder_input import ChunkArrays
from trainer.ranks.process_group import ALONE, Ranks

# Names of a step's arrays: ("index", name), ("batch", name), ("chunk", its seed, name).
_Name = tuple[str, str] | tuple[str, int, str]


@dataclass(frozen=True, slots=True)
class PlannedStep:
    """All that one optimisation step needs, decided without looking at a tensor's value."""

    plan: Plan
    parcel: Parcel[_Name]
    targets: int
    count: float  # sum of target weights over all ranks
    asked: int  # items that the head asked for: what encoding each of them would cost
    completes: bool  # the last step of its packed step; only naive_per_target cuts one into several
    work: Work = NO_WORK

    def to(self, device: torch.device) -> tuple[PlacedPlan, StepTensors]:
        """The plan and the head's input on the device, by one copy."""
        index: dict[str, Tensor] = {}
        batch: dict[str, Tensor] = {}
        inputs: dict[int, dict[str, Tensor]] = {}
        for name, tensor in self.parcel.to(device).items():
            if len(name) == 3:
                inputs.setdefault(name[1], {})[name[2]] = tensor
            else:
                (index if name[0] == "index" else batch)[name[1]] = tensor
        return PlacedPlan(plan=self.plan, index=index, inputs=inputs), StepTensors(**batch)


class StepMaker:
    """Makes the arrays of planned steps, in the loader thread."""

    def __init__(
        self, chunk_arrays: Callable[[Chunk], ChunkArrays], counter: WorkCounter | None = None, *, pinned: bool = False
    ) -> None:
        """`counter`: None = work is not counted. `pinned`: for a GPU."""
        self._chunk_arrays, self._counter, self._pinned = chunk_arrays, counter, pinned

    def made(self, plan: Plan, part: StepBatch, *, count: float, completes: bool) -> PlannedStep:
        """The step of this plan; `part`: its batch."""
        arrays: dict[_Name, NDArray[Any]] = {("index", name): array for name, array in index_arrays(plan).items()}
        arrays |= {("batch", name): array for name, array in head_arrays(part, plan.inverse_M).items()}
        chunks = {chunk.seed: self._chunk_arrays(chunk) for chunk in chunks_used(plan)}
        for seed, made in chunks.items():
            arrays |= {("chunk", seed, name): array for name, array in made.arrays.items()}
        computed = {seed: made.computed for seed, made in chunks.items()}
        return PlannedStep(
            plan=plan,
            parcel=Parcel(arrays, pinned=self._pinned),
            targets=part.targets,
            count=count,
            asked=len(part.ask_M),
            completes=completes,
            work=NO_WORK if self._counter is None else self._counter.of(plan, computed),
        )


def _parts_per_target(batch: StepBatch, samples: int) -> list[StepBatch]:
    return [per_occurrence(part) for part in cut_samples(per_target(batch), samples=samples)]


# How a policy that does not share items cuts a merged step: into one or more StepBatches, each a step of its own.
SHAPES: dict[Policy, Callable[[StepBatch, int], list[StepBatch]]] = {
    "naive_per_target": _parts_per_target,
    "naive": lambda batch, _: [per_occurrence(batch)],
}


def shaped(batch: StepBatch, policy: Policy, samples_per_step: int) -> list[StepBatch]:
    """The merged step as the policy trains on it: as it is, unless SHAPES cuts it."""
    return SHAPES[policy](batch, samples_per_step) if policy in SHAPES else [batch]


def optimiser_steps(reader: Reader, epoch: int, policy: Policy, samples_per_step: int) -> int:
    """Number of optimisation steps of an epoch: several for each packed step where samples are cut."""
    if policy != "naive_per_target":
        return reader.steps_in(epoch)
    return sum(-(-targets // samples_per_step) for targets in reader.targets(epoch))


def planned(
    batches: Iterator[Mapping[int, list[StepBatch]]],
    planner: Planner,
    maker: StepMaker,
    *,
    policy: Policy,
    samples_per_step: int,
    first: int,
    weights: Sequence[float],
    ranks: Ranks = ALONE,
) -> Iterator[PlannedStep]:
    """Plan every step of `batches`, which maps ranks to their batches: this one, and the others where the planner
    must know what all ask for. Steps are numbered from `first` on; `weights`: of each packed step that is left of the
    epoch, over all ranks."""
    step = first
    for packed, (group, weight) in enumerate(zip(batches, weights, strict=False), start=1):
        others = {rank: asked_of(theirs) for rank, theirs in group.items() if rank != ranks.rank}
        parts = shaped(merge(group[ranks.rank]), policy, samples_per_step)
        for number, part in enumerate(parts, start=1):
            completes = number == len(parts)
            plan = planner.plan(step, {**others, ranks.rank: part.ask_M}, last=completes and packed == len(weights))
            count = weight if len(parts) == 1 else part.weight_sum
            yield maker.made(plan, part, count=count, completes=completes)
            step += 1
