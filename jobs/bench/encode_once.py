"""Benchmark: clicks per second of every policy on the same targets, model and frozen store, in one run."""

from __future__ import annotations

import copy
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

from jobs.config import run
from jobs.terminal.progress import stage
from schemas.errors import InputError
from trainer.encode.planner import Policy
from trainer.loop.checkpoint import Checkpoint, load_checkpoint
from trainer.loop.prepare import DeviceName, Prepared, device_of, prepare_again
from trainer.loop.trainer import Trainer

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
        Packed steps that are measured, the same for every policy; whole steps, data wait included.
    policies
        Which to measure.
    store
        Folder that keeps the frozen layers' output; by default `<data>.frozen`.
    device
        Where to train.
    """
    if steps < 1:
        raise InputError(f"--steps is {steps}: use 1 or more")
    saved = load_checkpoint(checkpoint)
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
    trainer = _going_on(prepared, saved, policy)
    trainer.model.train()  # dropout costs time too
    with closing(trainer.epoch_steps(packed_steps=1)) as first:
        trainer.take(next(first))  # not timed: first calls open files and choose kernels
    trainer.epoch_step = 1 if trainer.packed_steps() > 1 else 0
    planned = trainer.epoch_steps(packed_steps=steps)
    targets = encoded = 0
    began = time.perf_counter()
    for step in planned:
        trainer.take(step)
        targets += step.targets
        encoded += step.plan.encoded
    seconds = time.perf_counter() - began
    return {"clicks_per_second": targets / seconds, "targets": targets, "encoded": encoded, "seconds": seconds}


def _going_on(prepared: Prepared, saved: Checkpoint, policy: Policy) -> Trainer:
    """A trainer with this policy, at the start of the epoch that would follow the checkpoint's last."""
    config = prepared.config
    chosen = replace(config, planner=replace(config.planner, policy=policy))
    trainer = Trainer(replace(prepared, config=chosen, model=copy.deepcopy(prepared.model)))
    state = {**saved.state, "config": chosen.to_dict()}
    trainer.restore(replace(saved, state=state))
    trainer.epoch, trainer.epoch_step = config.run.epochs, 0
    return trainer


if __name__ == "__main__":
    raise SystemExit(run(encode_once))
