"""Benchmark: clicks per second of every policy with the same model and frozen store, timed in turns."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

from jobs.bench.policy_speed import going_on
from jobs.bench.rounds import compared, figures, in_turns, measure_of, ratio
from jobs.cli.command_line import run
from jobs.cli.progress import stage
from schemas.errors import InputError
from schemas.storage.place import Place
from trainer.checkpoint.files import Checkpoint
from trainer.checkpoint.retention import load_resolved_checkpoint
from trainer.data.cache import CacheConfig
from trainer.data.directory import Packed
from trainer.encode.policies import Policy
from trainer.setup.prepare import DeviceName, Prepared, device_of, prepare_again

ALL: tuple[Policy, ...] = get_args(Policy)
FIRST: Policy = "naive_per_target"  # what the others are compared with


def encode_once(
    *,
    checkpoint: Path,
    data: Place,
    rounds: int = 5,
    steps: int = 1,
    policies: tuple[Policy, ...] = ALL,
    store: Path | None = None,
    device: DeviceName = "auto",
    cache: CacheConfig = CacheConfig(),  # noqa: B008 - frozen
) -> dict[str, Any]:
    """Clicks per second of each policy on the steps that would come next in training, and how many times those of
    naive_per_target that is: by processor seconds, which other work on the machine hardly changes; on a GPU by the
    clock. Where the rounds do not agree, the ratio is null.

    Parameters
    ----------
    checkpoint
        A checkpoint that `train` wrote: every policy goes on from its weights, `cached` from its vectors and ages too.
    data
        The packed directory that it was trained on.
    rounds
        Rounds of each policy, in turns; the median counts.
    steps
        Packed steps of a round; times planner.accumulate_steps for cached, carried and accumulated, and optimisation
        steps for naive_per_target.
    policies
        Which to measure.
    store
        Folder that keeps the frozen layers' output; by default `<data>.frozen`.
    device
        Where to train.
    """
    if min(rounds, steps) < 1:
        raise InputError(f"--rounds is {rounds} and --steps {steps}: use 1 or more")
    saved = load_resolved_checkpoint(checkpoint)
    prepared = prepare_again(saved, Packed.of(data, cache), store=store, device=device_of(device))
    return measure(prepared, saved, rounds=rounds, steps=steps, policies=policies)


def measure(
    prepared: Prepared, saved: Checkpoint, *, rounds: int, steps: int, policies: Sequence[Policy]
) -> dict[str, Any]:
    """The figures of each policy; the model is left as it was."""
    trainers = {str(policy): going_on(prepared, saved, policy) for policy in policies}
    with stage("speed of each policy, in turns") as bar:
        found = in_turns(trainers, rounds, steps=steps, progress=bar.at)
    measured = {policy: figures(every) for policy, every in found.items()}
    if FIRST in found:
        by = measure_of(trainers[FIRST])
        for policy, every in found.items():
            measured[policy] |= compared(ratio(every, found[FIRST], by), by)
    return measured


if __name__ == "__main__":
    raise SystemExit(run(encode_once))
