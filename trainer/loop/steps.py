"""Reads a run's steps, shapes them for the policy, plans them and makes tensors, in the loader thread."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from trainer.cost.work import NO_WORK, Work, WorkCounter
from trainer.data.batch import StepBatch, asked_of, cut_samples, merge, per_occurrence, per_target
from trainer.data.reader import Reader
from trainer.data.tensors import StepTensors
from trainer.encode.plan import Plan, Planner
from trainer.encode.policies import Policy
from trainer.ranks.process_group import ALONE, Ranks


@dataclass(frozen=True, slots=True)
class PlannedStep:
    """All that one optimisation step needs, decided without looking at a tensor's value."""

    plan: Plan
    batch: StepTensors
    targets: int
    count: float  # sum of target weights over all ranks
    asked: int  # items that the head asked for: what encoding each of them would cost
    completes: bool  # the last step of its packed step; only naive_per_target cuts one into several
    work: Work = NO_WORK


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
            yield PlannedStep(
                plan=plan,
                batch=StepTensors.of(part, plan.inverse_M),
                targets=part.targets,
                count=weight if len(parts) == 1 else part.weight_sum,
                asked=len(part.ask_M),
                completes=completes,
            )
            step += 1


def pinned(steps: Iterator[PlannedStep]) -> Iterator[PlannedStep]:
    """The same steps, their tensors in pinned memory, from which a GPU copies asynchronously."""
    for step in steps:
        yield replace(step, batch=step.batch.pinned())


def counted(steps: Iterator[PlannedStep], counter: WorkCounter) -> Iterator[PlannedStep]:
    """The same steps, each with its counted work."""
    for step in steps:
        yield replace(step, work=counter.of(step.plan))
