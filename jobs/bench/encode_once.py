"""Benchmark: clicks per second of every policy with the same model and frozen store, in one run."""

from __future__ import annotations

import copy
import itertools
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

from jobs.config import run
from jobs.terminal.progress import stage
from schemas.errors import InputError
from trainer.encode.policies import Policy
from trainer.loop.checkpoint import Checkpoint
from trainer.loop.prepare import DeviceName, Prepared, device_of, prepare_again
from trainer.loop.retention import load_chosen
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
    trainer.model.train()  # dropout costs time too
    window = window_of(trainer)
    with closing(trainer.epoch_steps(packed_steps=window)) as first:
        for step in itertools.islice(first, window):
            trainer.take(step)  # not timed: first calls open files and choose kernels
    trainer.at.epoch_step = window if 2 * window <= trainer.packed_steps() else 0
    targets = encoded = 0
    began = time.perf_counter()
    for step in trainer.epoch_steps(packed_steps=-(-steps // window) * window):
        trainer.take(step)
        targets += step.targets
        encoded += step.plan.encoded
    seconds = time.perf_counter() - began
    return {"clicks_per_second": targets / seconds, "targets": targets, "encoded": encoded, "seconds": seconds}


def window_of(trainer: Trainer) -> int:
    """Packed steps that are measured as one: those between two updates of the encoder, or there were no backward."""
    wanted = trainer.config.planner.accumulate_steps if trainer.config.planner.policy == "accumulated" else 1
    return min(wanted, trainer.packed_steps())


def going_on(prepared: Prepared, saved: Checkpoint, policy: Policy, *, kept_chunks: int | None = None) -> Trainer:
    """A trainer with this policy, at the start of the epoch that would follow the checkpoint's last."""
    config = prepared.config
    planner, run = replace(config.planner, policy=policy), replace(config.run, kept_chunks=kept_chunks)
    chosen = replace(config, planner=planner, run=run)
    trainer = Trainer(replace(prepared, config=chosen, model=copy.deepcopy(prepared.model)))
    trainer.restore(replace(saved, state={**saved.state, "config": chosen.to_dict()}))
    trainer.at.epoch, trainer.at.epoch_step = config.run.epochs, 0
    return trainer


if __name__ == "__main__":
    raise SystemExit(run(encode_once))
