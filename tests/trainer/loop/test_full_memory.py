"""A device whose memory is full: at whatever operation of a step it says so, the step is taken once or not at all."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from tests.packed import packed_directory
from tests.trainer.loop.test_session import config
from tests.trainer.loop.test_trainer import start
from trainer.checkpoint.files import Checkpoint
from trainer.cost.memory import OutOfMemoryError
from trainer.encode.policies import Policy
from trainer.loop.steps import PlannedStep
from trainer.loop.trainer import Trainer


class FullAt(TorchDispatchMode):
    """Lets operations pass, and refuses the one with this number."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.left = number

    def __torch_dispatch__(self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.left -= 1
        if self.left == -1:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.\nMore words")
        return func(*args, **(kwargs or {}))


def begun(folder: Path, policy: Policy, precision: str) -> tuple[Trainer, PlannedStep, Checkpoint]:
    """A run, a step of it that updates the encoder and collects what waits, and the run as it stood before it."""
    run = {"auto_chunk": True, "precision": precision, "drift_every_steps": 0}
    options = config(folder)
    planner = replace(options.planner, policy=policy, accumulate_steps=3, max_reuse=0.4)
    options = replace(options, planner=planner, run=replace(options.run, **run))
    trainer = start(options, packed_directory(folder / "packed", trajectories=48))
    trainer.model.train()
    steps = list(trainer.epoch_steps())
    for step in steps[:2]:
        trainer.take_step(step)
    assert steps[2].plan.update_encoder
    assert len(steps[2].plan.backward) > 1
    return trainer, steps[2], copy.deepcopy(trainer.checkpoint())


def taken(trainer: Trainer, step: PlannedStep, before: Checkpoint, *, full_at: int) -> tuple[float, int]:
    """(its loss, how many operations it did not come to)."""
    trainer.restore(copy.deepcopy(before))
    trainer.table._kept_chunks = None
    with FullAt(full_at) as full:
        loss = trainer.take_step(step)
    return float(loss), full.left


@pytest.mark.parametrize("stride", [199, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("policy", "precision"), [("accumulated", "float32"), ("carried", "float32"), ("cached", "bfloat16")]
)
def test_a_step_is_taken_once_whichever_operation_of_it_finds_the_memory_full(
    tmp_path: Path, policy: Policy, precision: str, stride: int
) -> None:
    trainer, step, before = begun(tmp_path, policy, precision)
    many = 1_000_000
    loss, left = taken(trainer, step, before, full_at=many)
    after = copy.deepcopy(trainer.checkpoint())
    operations, ended = many - left, 0
    last = operations - 60  # the update and what comes behind it
    for number in [*range(0, last, stride), *range(last, operations, min(stride, 3))]:
        try:
            found, _ = taken(trainer, step, before, full_at=number)
        except OutOfMemoryError:
            assert not (trainer.optimiser.intact and trainer.optimiser.taken == 2)  # there was no way back
            assert trainer.step == 2
            ended += 1
            trainer.optimiser.intact = True
            continue
        assert found == loss
        now = trainer.checkpoint()
        assert now.state["position"] == after.state["position"]
        assert now.state["optimiser"] == after.state["optimiser"]
        for part, tensors in after.tensors.items():
            assert tensors.keys() == now.tensors[part].keys()
            assert all(torch.equal(tensor, now.tensors[part][name]) for name, tensor in tensors.items()), (number, part)
    assert 0 < ended < 60


def test_full_memory_during_drift_or_evaluation_names_the_option_that_skips_it(tmp_path: Path) -> None:
    trainer, step, before = begun(tmp_path, "cached", "float32")
    trainer.restore(copy.deepcopy(before))
    trainer.config = replace(trainer.config, run=replace(trainer.config.run, drift_every_steps=1))
    trainer.take_step(step)
    with FullAt(0), pytest.raises(OutOfMemoryError, match=r"drift after step 2: .*run\.drift_every_steps = 0"):
        trainer.evaluate_drift(step)
