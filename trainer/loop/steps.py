"""Reads a run's steps, shapes them for the policy, plans them and makes tensors, in the loader thread."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
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


def optimiser_steps(step_targets: list[int], policy: Policy, samples_per_step: int) -> int:
    """Number of optimisation steps of these packed steps: several for each where samples are cut."""
    if policy != "naive_per_target":
        return len(step_targets)
    return sum(-(-targets // samples_per_step) for targets in step_targets)


def planned(
    batches: Iterator[list[StepBatch]],
    planner: Planner,
    *,
    policy: Policy,
    samples_per_step: int,
    first: int,
    weights: Sequence[float],
    ranks: Ranks = ALONE,
    shared: bool = False,
) -> Iterator[PlannedStep]:
    """Plan every step of `batches`. Steps are numbered from `first` on; `weights`: of each packed step that is left
    of the epoch, over all ranks. `shared`: `batches` are those of all ranks, since each must know what all ask for."""
    step = first
    for packed, (group, weight) in enumerate(zip(batches, weights, strict=False), start=1):
        of_rank = [group[rank :: ranks.world] for rank in range(ranks.world)] if shared else []
        asked = {rank: asked_of(theirs) for rank, theirs in enumerate(of_rank)}
        own = of_rank[ranks.rank] if shared else group
        parts = shaped(merge(own), policy, samples_per_step)
        for number, part in enumerate(parts, start=1):
            completes = number == len(parts)
            plan = planner.plan(step, {**asked, ranks.rank: part.ask_M}, last=completes and packed == len(weights))
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


def epoch_targets(reader: Reader, epoch: int) -> list[int]:
    """Targets of each packed step of an epoch, over all ranks, from the manifest alone."""
    blocks = reader.directory.superblocks
    return [sum(blocks[at.superblock][2].targets[at.index] for at in step) for step in reader.steps_of_all_ranks(epoch)]


def epoch_weights(reader: Reader, epoch: int, *, first_step: int = 0) -> list[float]:
    """Sum of target weights of each packed step of an epoch, over all ranks, from the manifest alone."""
    blocks = reader.directory.superblocks
    steps = reader.steps_of_all_ranks(epoch, first_step=first_step)
    return [sum(blocks[at.superblock][2].weights[at.index] for at in step) for step in steps]
