"""Tests each exactness rule of encode once by two numbers: the largest difference with and without its mechanism.

Sources: GRAM (arXiv 2204.04179, section 3: summed gradients, single-step exact) and SpeedyFeed (arXiv 2102.09268,
section 4: centralised encoding, cache). `carried` is feedloop's own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from trainer.data.batch import StepBatch, per_occurrence, per_target
from trainer.encode.plan import Plan
from trainer.encode.policies import PlannerConfig
from trainer.exact.ranks import WORLD, shares, two_ranks
from trainer.exact.scene import ONCE, SIZES, Scene

EXACT = 1e-9  # limit for float64 rounding; a lost gradient makes a difference a million times larger
_ALWAYS_REUSE = {"max_reuse": 1.0, "warm_up_steps": 1, "max_age_steps": 100}


@dataclass(frozen=True, slots=True)
class Proof:
    """One rule. `difference`: the largest absolute one of the gradients; `control`: with the mechanism switched off."""

    claim: str
    difference: float
    control: float
    switched_off: str
    idle: bool = False
    """the encoder has nothing that the mechanism acts on"""

    @property
    def holds(self) -> bool:
        """Whether the rule is exact and its control is not."""
        return self.difference < EXACT and (self.idle or 1e-3 * self.control > EXACT)


def prove(scene: Scene, *, ranks: bool = True) -> dict[str, Proof]:
    """Tests every rule on this scene. `ranks`: also in two processes over gloo, which takes some seconds."""
    proofs: dict[str, Callable[[Scene], Proof]] = {
        "once_vs_naive": once_vs_naive,
        "autoregressive_vs_per_target": autoregressive_vs_per_target,
        "chunked_vs_whole": chunked_vs_one_chunk,
        "replayed_vs_kept": replayed_vs_kept,
        "accumulated1_vs_once": accumulated1_vs_once,
        "accumulated_vs_once": accumulated_vs_once,
        "cached0_vs_once": cached0_vs_once,
        "carried_vs_once": carried_vs_once,
    }
    found = {name: proof(scene) for name, proof in proofs.items()}
    return {**found, "two_ranks_vs_one": two_ranks_vs_one(scene)} if ranks else found


def max_difference(left: Tensor, right: Tensor) -> float:
    """The largest absolute difference."""
    return float((left - right).abs().max())


def once_vs_naive(scene: Scene) -> Proof:
    """Back-propagating each distinct item once with its summed gradient equals back-propagating each occurrence."""
    naive = PlannerConfig(policy="naive", chunk_sizes=SIZES)
    occurrences = [per_occurrence(batch) for batch in scene.batches]
    per_item = scene.gradients(naive, batches=occurrences).total()

    def first_alone(plan: Plan) -> Tensor:
        factor = np.zeros(len(plan.rows_N))
        factor[np.unique(plan.rows_N, return_index=True)[1]] = 1
        return torch.from_numpy(factor)

    lost = scene.gradients(naive, batches=occurrences, spoil=first_alone).total()
    return Proof(
        "an item's summed gradient, sent once, is each occurrence's own",
        max_difference(scene.once.total(), per_item),
        max_difference(lost, per_item),
        "only the first occurrence's gradient",
    )


def autoregressive_vs_per_target(scene: Scene) -> Proof:
    """All targets of a trajectory in one pass give the gradients of one sample per target."""
    samples = [per_occurrence(per_target(batch)) for batch in scene.batches]
    once = scene.once.total()
    per_target_policy = PlannerConfig(policy="naive_per_target", chunk_sizes=SIZES)
    apart = scene.gradients(per_target_policy, batches=samples).total()
    unmasked = [_all_seen(batch) for batch in scene.batches]
    return Proof(
        "all targets of a user in one pass are one sample for each",
        max_difference(once, apart),
        max_difference(scene.gradients(ONCE, batches=unmasked).total(), apart),
        "targets that see later clicks",
    )


def chunked_vs_one_chunk(scene: Scene) -> Proof:
    """Chunks of any size give the gradients of one large chunk."""
    one_chunk = scene.gradients(PlannerConfig(policy="once", chunk_sizes=(scene.rows,))).total()
    small = PlannerConfig(policy="once", chunk_sizes=(3, 1))

    def last_chunk_lost(plan: Plan) -> Tensor:
        factor = torch.ones(len(plan.rows_N), dtype=torch.float64)
        factor[torch.as_tensor(plan.backward[-1].slots)] = 0
        return factor

    return Proof(
        "chunks of 3 and 1 are one chunk",
        max_difference(scene.gradients(small).total(), one_chunk),
        max_difference(scene.gradients(small, spoil=last_chunk_lost).total(), one_chunk),
        "one chunk's gradient lost",
    )


def replayed_vs_kept(scene: Scene) -> Proof:
    """A chunk that is encoded without its graph and replayed with it has the same dropout."""
    kept = scene.once_with_dropout.total()
    other_seed = max_difference(scene.gradients(ONCE, dropout=True, kept_chunks=0, seed=4).total(), kept)
    without_dropout = other_seed < EXACT
    return Proof(
        "a chunk replayed with its seed is one that kept its graph",
        max_difference(scene.gradients(ONCE, dropout=True, kept_chunks=0).total(), kept),
        other_seed,
        "another seed" + (": this encoder has no dropout" if without_dropout else ""),
        idle=without_dropout,
    )


def accumulated1_vs_once(scene: Scene) -> Proof:
    """`accumulated` over one step equals `once`, including dropout."""
    once = scene.once_with_dropout
    one, two = (
        scene.gradients(PlannerConfig(policy="accumulated", accumulate_steps=steps, chunk_sizes=SIZES), dropout=True)
        for steps in (1, 2)
    )
    return Proof(
        "accumulated over one step is once",
        max_difference(one.total(), once.total()),
        max_difference(two.total(), once.total()),
        "over two steps",
    )


def accumulated_vs_once(scene: Scene) -> Proof:
    """`accumulated` over K steps equals the sum of the K steps of `once`; each item is encoded once."""
    once = scene.once
    config = PlannerConfig(policy="accumulated", accumulate_steps=len(scene.batches), chunk_sizes=SIZES)
    accumulated = scene.gradients(config)
    counts = torch.tensor(once.counts, dtype=torch.float64)[:, None]
    head_difference = max_difference(torch.stack(accumulated.head), torch.stack(once.head))
    summed = (torch.stack(once.encoder) * counts).sum(0) / counts.sum()
    last_alone = once.encoder[-1] * counts[-1] / counts.sum()
    return Proof(
        f"accumulated over {len(scene.batches)} steps is their sum",
        max(max_difference(accumulated.encoder[-1], summed), head_difference),
        max_difference(last_alone, summed),
        "without the gradients that waited",
    )


def cached0_vs_once(scene: Scene) -> Proof:
    """`cached` without reuse equals `once`."""
    never = PlannerConfig(policy="cached", max_reuse=0.0, chunk_sizes=SIZES)
    always = PlannerConfig(policy="cached", **_ALWAYS_REUSE, chunk_sizes=SIZES)  # type: ignore[arg-type]
    once = scene.once_with_dropout.total()
    return Proof(
        "cached with p = 0 is once",
        max_difference(scene.gradients(never, dropout=True).total(), once),
        max_difference(scene.gradients(always, dropout=True).total(), once),
        "p = 1",
    )


def carried_vs_once(scene: Scene) -> Proof:
    """Over an epoch with constant weights, `carried` loses no gradient of a look-up."""
    config = PlannerConfig(policy="carried", **_ALWAYS_REUSE, carry_max_age_steps=0, chunk_sizes=SIZES)  # type: ignore[arg-type]
    once = scene.once.total()

    def look_ups_lost(plan: Plan) -> Tensor:
        assert plan.waiting is not None
        return torch.from_numpy((~plan.waiting.keep_N).astype(np.float64))

    return Proof(
        "carried over an epoch of still weights is once",
        max_difference(scene.gradients(config).total(), once),
        max_difference(scene.gradients(config, spoil=look_ups_lost).total(), once),
        "look-ups' gradients lost",
    )


def two_ranks_vs_one(scene: Scene) -> Proof:
    """Two processes with unequal data, one of them without data in a step, give the gradients of one process."""
    one = scene.once.total()
    means = [scene.gradients(ONCE, batches=shares(scene.batches, rank)).total() for rank in range(WORLD)]
    return Proof(
        "two processes with unequal data are one",
        max_difference(two_ranks(scene.config, ONCE), one),
        max_difference(torch.stack(means).mean(0), one),
        "the mean of each process's own mean",
    )


def _all_seen(batch: StepBatch) -> StepBatch:
    return replace(batch, prefix_BP=np.full_like(batch.prefix_BP, batch.click_mask_BL.shape[1]))
