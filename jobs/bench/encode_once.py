"""Benchmark: clicks per second of every policy with the same model and frozen store, timed alternately."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

from jobs.bench.policy_speed import resumed_trainer
from jobs.bench.rounds import figures, measure_of, ratio, ratio_fields, time_alternately
from jobs.cli.command_line import run
from jobs.cli.progress import stage
from schemas.errors import InputError
from schemas.storage.place import Place
from trainer.checkpoint.files import Checkpoint
from trainer.checkpoint.retention import load_resolved_checkpoint
from trainer.data.cache import CacheConfig
from trainer.data.directory import Packed
from trainer.encode.policies import Policy
from trainer.setup.automatic import DeviceName, device_of
from trainer.setup.prepare import Prepared, prepare_again

ALL: tuple[Policy, ...] = get_args(Policy)
FIRST: Policy = "naive_per_target"  # the others are compared with this one


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
    """Measure the clicks per second of each policy on the next steps of training, and the speed-up over
    naive_per_target. The speed-up is by processor seconds, which other work on the machine hardly changes; on a GPU by
    wall time. It is null if the rounds do not agree.

    Parameters
    ----------
    checkpoint
        A checkpoint that `train` wrote. Every policy starts from its weights; `cached` also from its vectors and ages.
    data
        The packed directory that it was trained on.
    rounds
        Rounds of each policy, alternating; the median is reported.
    steps
        Packed steps per round; for cached, carried and accumulated multiplied by planner.accumulate_steps, for
        naive_per_target optimisation steps.
    policies
        Policies to measure.
    store
        Folder for the frozen layers' output; by default `<data>.frozen`.
    device
        Device to train on.
    """
    if min(rounds, steps) < 1:
        raise InputError(f"--rounds is {rounds} and --steps {steps}: use 1 or more")
    saved = load_resolved_checkpoint(checkpoint)
    prepared = prepare_again(saved, Packed.of(data, cache), store=store, device=device_of(device))
    return measure(prepared, saved, rounds=rounds, steps=steps, policies=policies)


def measure(
    prepared: Prepared, saved: Checkpoint, *, rounds: int, steps: int, policies: Sequence[Policy]
) -> dict[str, Any]:
    """Return the figures of each policy. The model is not changed."""
    trainers = {str(policy): resumed_trainer(prepared, saved, policy) for policy in policies}
    with stage("speed of each policy, in turns") as bar:
        found = time_alternately(trainers, rounds, steps=steps, progress=bar.at)
    measured = {policy: figures(every) for policy, every in found.items()}
    if FIRST in found:
        by = measure_of(trainers[FIRST])
        for policy, every in found.items():
            measured[policy] |= ratio_fields(ratio(every, found[FIRST], by), by)
    return measured


if __name__ == "__main__":
    raise SystemExit(run(encode_once))
