"""Proofs: each exactness rule of encode once as two numbers, how far off it is and how far without its mechanism.

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

EXACT = 1e-9  # float64: what rounding leaves; a lost gradient leaves a million times more
_ALWAYS_REUSE = {"max_reuse": 1.0, "warm_up_steps": 1, "max_age_steps": 100}


@dataclass(frozen=True, slots=True)
class Proof:
    """`difference`: the largest absolute one of a gradient; `control`: the same with the mechanism switched off."""

    claim: str
    difference: float
    control: float
    switched_off: str
    idle: bool = False
    """the encoder has nothing for the mechanism to do"""

    @property
    def holds(self) -> bool:
        """Exact, and the control is not."""
        return self.difference < EXACT and (self.idle or 1e-3 * self.control > EXACT)


def prove(scene: Scene, *, ranks: bool = True) -> dict[str, Proof]:
    """Every rule on this scene. `ranks`: also in two processes over gloo, which takes some seconds."""
    proofs: dict[str, Callable[[Scene], Proof]] = {
        "once_vs_naive": once_vs_naive,
        "autoregressive_vs_per_target": autoregressive_vs_per_target,
        "chunked_vs_whole": chunked_vs_whole,
        "replayed_vs_kept": replayed_vs_kept,
        "accumulated1_vs_once": accumulated1_vs_once,
        "accumulated_vs_once": accumulated_vs_once,
        "cached0_vs_once": cached0_vs_once,
        "carried_vs_once": carried_vs_once,
    }
    found = {name: proof(scene) for name, proof in proofs.items()}
    return {**found, "two_ranks_vs_one": two_ranks_vs_one(scene)} if ranks else found


def off(left: Tensor, right: Tensor) -> float:
    """The largest absolute difference."""
    return float((left - right).abs().max())


def once_vs_naive(scene: Scene) -> Proof:
    """Each distinct item back-propagated once, with its summed gradient, is each occurrence back-propagated."""
    naive = PlannerConfig(policy="naive", chunk_sizes=SIZES)
    occurrences = [per_occurrence(batch) for batch in scene.batches]
    whole = scene.gradients(naive, batches=occurrences).total()

    def first_alone(plan: Plan) -> Tensor:
        factor = np.zeros(len(plan.rows_N))
        factor[np.unique(plan.rows_N, return_index=True)[1]] = 1
        return torch.from_numpy(factor)

    lost = scene.gradients(naive, batches=occurrences, spoil=first_alone).total()
    return Proof(
        "an item's summed gradient, sent once, is each occurrence's own",
        off(scene.once.total(), whole),
        off(lost, whole),
        "only the first occurrence's gradient",
    )


def autoregressive_vs_per_target(scene: Scene) -> Proof:
    """All targets of a trajectory in one pass give what one sample per target gives."""
    samples = [per_occurrence(per_target(batch)) for batch in scene.batches]
    once = scene.once.total()
    per_target_policy = PlannerConfig(policy="naive_per_target", chunk_sizes=SIZES)
    apart = scene.gradients(per_target_policy, batches=samples).total()
    unmasked = [_all_seen(batch) for batch in scene.batches]
    return Proof(
        "all targets of a user in one pass are one sample for each",
        off(once, apart),
        off(scene.gradients(ONCE, batches=unmasked).total(), apart),
        "targets that see later clicks",
    )


def chunked_vs_whole(scene: Scene) -> Proof:
    """Chunks of any size give what one big chunk gives."""
    whole = scene.gradients(PlannerConfig(policy="once", chunk_sizes=(scene.rows,))).total()
    small = PlannerConfig(policy="once", chunk_sizes=(3, 1))

    def last_chunk_lost(plan: Plan) -> Tensor:
        factor = torch.ones(len(plan.rows_N), dtype=torch.float64)
        factor[torch.as_tensor(plan.backward[-1].slots)] = 0
        return factor

    return Proof(
        "chunks of 3 and 1 are one chunk",
        off(scene.gradients(small).total(), whole),
        off(scene.gradients(small, spoil=last_chunk_lost).total(), whole),
        "one chunk's gradient lost",
    )


def replayed_vs_kept(scene: Scene) -> Proof:
    """A chunk encoded without its graph and again with it meets the same dropout."""
    kept = scene.once_with_dropout.total()
    other_seed = off(scene.gradients(ONCE, dropout=True, kept_chunks=0, seed=4).total(), kept)
    without_dropout = other_seed < EXACT
    return Proof(
        "a chunk replayed with its seed is one that kept its graph",
        off(scene.gradients(ONCE, dropout=True, kept_chunks=0).total(), kept),
        other_seed,
        "another seed" + (": this encoder has no dropout" if without_dropout else ""),
        idle=without_dropout,
    )


def accumulated1_vs_once(scene: Scene) -> Proof:
    """Accumulated over one step is once, dropout included."""
    once = scene.once_with_dropout
    one, two = (
        scene.gradients(PlannerConfig(policy="accumulated", accumulate_steps=steps, chunk_sizes=SIZES), dropout=True)
        for steps in (1, 2)
    )
    return Proof(
        "accumulated over one step is once",
        off(one.total(), once.total()),
        off(two.total(), once.total()),
        "over two steps",
    )


def accumulated_vs_once(scene: Scene) -> Proof:
    """Accumulated over K steps is the sum of what `once` gives in them, each item encoded and sent back once."""
    once = scene.once
    config = PlannerConfig(policy="accumulated", accumulate_steps=len(scene.batches), chunk_sizes=SIZES)
    accumulated = scene.gradients(config)
    counts = torch.tensor(once.counts, dtype=torch.float64)[:, None]
    summed = (torch.stack(once.encoder) * counts).sum(0) / counts.sum()
    last_alone = once.encoder[-1] * counts[-1] / counts.sum()
    return Proof(
        f"accumulated over {len(scene.batches)} steps is their sum",
        max(off(accumulated.encoder[-1], summed), off(torch.stack(accumulated.head), torch.stack(once.head))),
        off(last_alone, summed),
        "without the gradients that waited",
    )


def cached0_vs_once(scene: Scene) -> Proof:
    """A cache whose vectors are never used is no cache."""
    never = PlannerConfig(policy="cached", max_reuse=0.0, chunk_sizes=SIZES)
    always = PlannerConfig(policy="cached", **_ALWAYS_REUSE, chunk_sizes=SIZES)  # type: ignore[arg-type]
    once = scene.once_with_dropout.total()
    return Proof(
        "cached with p = 0 is once",
        off(scene.gradients(never, dropout=True).total(), once),
        off(scene.gradients(always, dropout=True).total(), once),
        "p = 1",
    )


def carried_vs_once(scene: Scene) -> Proof:
    """Over an epoch with still weights, nothing that a look-up left behind is lost."""
    config = PlannerConfig(policy="carried", **_ALWAYS_REUSE, carry_max_age_steps=0, chunk_sizes=SIZES)  # type: ignore[arg-type]
    once = scene.once.total()

    def look_ups_lost(plan: Plan) -> Tensor:
        assert plan.waiting is not None
        return torch.from_numpy((~plan.waiting.keep_N).astype(np.float64))

    return Proof(
        "carried over an epoch of still weights is once",
        off(scene.gradients(config).total(), once),
        off(scene.gradients(config, spoil=look_ups_lost).total(), once),
        "look-ups' gradients lost",
    )


def two_ranks_vs_one(scene: Scene) -> Proof:
    """Two processes with unequal data, one of them empty in a step, give what one process gives."""
    one = scene.once.total()
    means = [scene.gradients(ONCE, batches=shares(scene.batches, rank)).total() for rank in range(WORLD)]
    return Proof(
        "two processes with unequal data are one",
        off(two_ranks(scene.config, ONCE), one),
        off(torch.stack(means).mean(0), one),
        "the mean of each process's own mean",
    )


def _all_seen(batch: StepBatch) -> StepBatch:
    return replace(batch, prefix_BP=np.full_like(batch.prefix_BP, batch.click_mask_BL.shape[1]))
