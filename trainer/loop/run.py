"""Steps of a run: read, shape for the policy, plan, make tensors; all in the loader thread, ahead of the device."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal
from urllib.parse import urlsplit

from trainer.data.batch import StepBatch, asked_of, cut_samples, merge, per_occurrence, per_target
from trainer.data.reader import Reader
from trainer.data.tensors import StepTensors
from trainer.encode.plan import Plan, Planner
from trainer.encode.policies import Policy
from trainer.eval.validation import rule_of
from trainer.loop.distributed import ALONE, Ranks
from trainer.loop.work import NO_WORK, Work, WorkCounter

_MOST = {  # beyond these a run would not begin: its schedule is counted epoch by epoch, its steps are held in memory
    "epochs": 10_000,
    "batches_per_step": 1 << 20,
    "samples_per_step": 1 << 20,
    "plan_ahead": 1 << 10,
    "history_clicks": 1 << 16,
    "seed": 2**63 - 1,
    "log_every_steps": 2**31,
    "drift_every_steps": 2**31,
    "save_every_steps": 2**31,
    "keep_checkpoints": 2**31,
    "early_stop_epochs": 2**31,
    "profile_steps": 1 << 20,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RunConfig:
    """How long, in what portions, and what is told on the way."""

    epochs: int = 1
    """Passes over the packed batches."""
    batches_per_step: int = 1
    """G: packed batches in one optimisation step, over all ranks."""
    samples_per_step: int = 64
    """naive_per_target only: targets in one optimisation step."""
    seed: int = 1
    """Decides the order of superblocks, coins and dropout."""
    reader: Literal["petastorm", "arrow"] = "petastorm"
    """Both give the same batches in the same order."""
    precision: Literal["auto", "float32", "bfloat16"] = "float32"
    """Of the encoder while training: bfloat16 is a copy of its weights, and its gradients are added to float32 ones.
    Master weights, moments, vectors and the head are float32. auto: bfloat16 where the device multiplies it, else
    float32; a run that goes on keeps what it began with."""
    compile: bool = False
    """torch.compile the encoder; chunks then have one of four lengths, of which a compiler sees few shapes."""
    plan_ahead: int = 4
    """Steps that the loader thread may be ahead."""
    log_every_steps: int = 10
    """Steps between two lines of metrics.jsonl."""
    drift_every_steps: int = 50
    """Steps between two looks at how far looked-up vectors are from fresh ones. 0 = never."""
    kept_chunks: int | None = None
    """Chunks that keep their graph; the others are replayed, which bounds memory. None = all."""
    save_every_steps: int = 500
    """Steps between two checkpoints; one stands at the end of each epoch in any case. 0 = there only."""
    keep_checkpoints: int = 2
    """The newest so many checkpoints are kept, and the best."""
    early_stop_epochs: int = 0
    """Epochs without a better AUC on the validation impressions that end training. 0 = none; epochs are not judged."""
    validate: str = "user:0.2"
    """Which labelled evaluation impressions are for validation, where epochs are judged: user:SHARE, all of some users,
    or time:SHARE, the earliest. `evaluate` reports the others."""
    auto_chunk: bool = False
    """Where memory does not suffice, keep fewer chunks' graphs and take the step again, with the same result."""
    history_clicks: int = 50
    """Evaluation: latest clicks of a history that are seen."""
    tensorboard: bool = True
    """Also write the lines of metrics.jsonl as curves for TensorBoard, below OUT/tensorboard: a millisecond a line."""
    mlflow: str = ""
    """Also tell the run to the MLflow store of this tracking URI, such as sqlite:///runs/mlflow.db. Empty = none."""
    profile_steps: int = 0
    """Steps, after the first few, whose operators are timed, for a table and a trace below OUT/profile. 0 = none."""

    def __post_init__(self) -> None:
        for name in ("drift_every_steps", "save_every_steps", "early_stop_epochs", "seed", "profile_steps"):
            if getattr(self, name) < 0:
                raise ValueError(f"run.{name} is {getattr(self, name)}: use 0 or more")
        for name in (
            "epochs",
            "batches_per_step",
            "samples_per_step",
            "plan_ahead",
            "log_every_steps",
            "keep_checkpoints",
            "history_clicks",
        ):
            if getattr(self, name) < 1:
                raise ValueError(f"run.{name} is {getattr(self, name)}: use 1 or more")
        for name, most in _MOST.items():
            if getattr(self, name) > most:
                raise ValueError(f"run.{name} is {getattr(self, name)}: use {most} at most")
        if not 0 <= (self.kept_chunks or 0) < 2**31:
            raise ValueError(f"run.kept_chunks is {self.kept_chunks}: use 0 or more, or leave it out to keep all")
        rule_of(self.validate)
        if urlsplit(self.mlflow).password:
            raise ValueError(
                "run.mlflow holds a password, and options are printed and kept in config.json: leave it out"
            )


@dataclass(frozen=True, slots=True)
class PlannedStep:
    """All that one optimisation step needs, decided without looking at a tensor's value."""

    plan: Plan
    batch: StepTensors
    targets: int
    count: float  # sum of target weights over all ranks
    asked: int  # items that the head asked for: what encoding each of them would cost
    completes: bool  # the packed step is done with it; only naive_per_target cuts one into several
    work: Work = NO_WORK


def _parts_per_target(batch: StepBatch, samples: int) -> list[StepBatch]:
    return [per_occurrence(part) for part in cut_samples(per_target(batch), samples=samples)]


# What a policy makes of a merged step: one or more StepBatches, each a step of its own.
SHAPES: dict[Policy, Callable[[StepBatch, int], list[StepBatch]]] = {
    "naive_per_target": _parts_per_target,
    "naive": lambda batch, _: [per_occurrence(batch)],
    "once": lambda batch, _: [batch],
    "cached": lambda batch, _: [batch],
    "accumulated": lambda batch, _: [batch],
    "carried": lambda batch, _: [batch],
}


def optimiser_steps(step_targets: list[int], policy: Policy, samples_per_step: int) -> int:
    """Optimisation steps that these packed steps give: more than one each where samples are cut."""
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
    of the epoch, over all ranks. `shared`: `batches` are those of all ranks, for each must know what all ask for."""
    step = first
    for packed, (group, weight) in enumerate(zip(batches, weights, strict=False), start=1):
        of_rank = [group[rank :: ranks.world] for rank in range(ranks.world)] if shared else []
        asked = {rank: asked_of(theirs) for rank, theirs in enumerate(of_rank)}
        own = of_rank[ranks.rank] if shared else group
        parts = SHAPES[policy](merge(own), samples_per_step)
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
    """The same steps, their tensors where a GPU copies from without being waited for."""
    for step in steps:
        yield replace(step, batch=step.batch.pinned())


def counted(steps: Iterator[PlannedStep], counter: WorkCounter) -> Iterator[PlannedStep]:
    """The same steps, each with its work."""
    for step in steps:
        yield replace(step, work=counter.of(step.plan))


def epoch_targets(reader: Reader, epoch: int) -> list[int]:
    """Targets of each packed step of an epoch, over all ranks, from the manifest alone."""
    blocks = reader.directory.superblocks
    return [sum(blocks[at.superblock][2].targets[at.index] for at in step) for step in reader.whole_steps(epoch)]


def epoch_weights(reader: Reader, epoch: int, *, first_step: int = 0) -> list[float]:
    """Sum of target weights of each packed step of an epoch, over all ranks, from the manifest alone."""
    blocks = reader.directory.superblocks
    steps = reader.whole_steps(epoch, first_step=first_step)
    return [sum(blocks[at.superblock][2].weights[at.index] for at in step) for step in steps]
