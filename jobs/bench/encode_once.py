"""Benchmark: clicks per second of every policy with the same model and frozen store, in one run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

from jobs.bench.policy_speed import going_on, portions, window_of
from jobs.config import run
from jobs.terminal.progress import stage
from schemas.errors import InputError
from trainer.encode.policies import Policy
from trainer.loop.checkpoint import Checkpoint
from trainer.loop.prepare import DeviceName, Prepared, device_of, prepare_again
from trainer.loop.retention import load_chosen

ALL: tuple[Policy, ...] = get_args(Policy)


def encode_once(
    *,
    checkpoint: Path,
    data: Path,
    steps: int = 2,
    policies: tuple[Policy, ...] = ALL,
    store: Path | None = None,
    device: DeviceName = "auto",
) -> dict[str, Any]:
    """Clicks per second of each policy on the steps that would come next in training.

    Parameters
    ----------
    checkpoint
        A checkpoint that `train` wrote: every policy goes on from its weights, `cached` from its vectors and ages too.
    data
        The packed directory that it was trained on.
    steps
        Packed steps that are measured, data wait included; `accumulated` goes on to the encoder's next update.
    policies
        Which to measure.
    store
        Folder that keeps the frozen layers' output; by default `<data>.frozen`.
    device
        Where to train.
    """
    if steps < 1:
        raise InputError(f"--steps is {steps}: use 1 or more")
    saved = load_chosen(checkpoint)
    prepared = prepare_again(saved, data, store=store, device=device_of(device))
    return measure(prepared, saved, steps=steps, policies=policies)


def measure(prepared: Prepared, saved: Checkpoint, *, steps: int, policies: Sequence[Policy]) -> dict[str, Any]:
    """The figures of each policy; the model is left as it was."""
    figures: dict[str, dict[str, float]] = {}
    for policy in policies:
        with stage(f"speed of {policy}"):
            figures[policy] = _measured(prepared, saved, policy, steps)
    base = figures.get("naive_per_target")
    if base:
        for found in figures.values():
            found["speed_up"] = found["clicks_per_second"] / base["clicks_per_second"]
    return figures


def _measured(prepared: Prepared, saved: Checkpoint, policy: Policy, steps: int) -> dict[str, float]:
    trainer = going_on(prepared, saved, policy)
    window = window_of(trainer)
    for _ in portions(trainer, [window]):  # not timed: first calls open files and choose kernels
        pass
    trainer.at.epoch_step = window if 2 * window <= trainer.packed_steps() else 0
    (found,) = portions(trainer, [-(-steps // window) * window])
    figures: dict[str, float] = {name: getattr(found, name) for name in ("targets", "encoded", "seconds")}
    return {"clicks_per_second": found.clicks_per_second, **figures}


if __name__ == "__main__":
    raise SystemExit(run(encode_once))
