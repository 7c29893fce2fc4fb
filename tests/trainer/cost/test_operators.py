"""No step of any policy reads a number from the device, and the counter that shows it finds each kind of read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest
import torch
from torch import Tensor

from tests.packed import packed_directory, tiny_plm
from tests.trainer.loop.test_trainer import start
from trainer.config import TrainConfig
from trainer.cost.operators import counted
from trainer.encode.policies import PlannerConfig, Policy
from trainer.loop.trainer import Trainer
from trainer.model.text_encoder import TextEncoderConfig
from trainer.run_config import RunConfig


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return packed_directory(tmp_path_factory.mktemp("operators") / "packed", trajectories=48)


def trainer_of(data: Path, policy: Policy, *, frozen: int, row_tokens: int, precision: str) -> Trainer:
    run = RunConfig(batches_per_step=2, reader="arrow", drift_every_steps=0, samples_per_step=9)
    config = TrainConfig(
        run=replace(run, precision=precision),  # type: ignore[arg-type]
        encoder=TextEncoderConfig(
            plm=tiny_plm(data.parent / "plm"), frozen_layers=frozen, vector_width=8, row_tokens=row_tokens
        ),
        planner=PlannerConfig(policy=policy, warm_up_steps=1, accumulate_steps=2, chunk_sizes=(16, 4)),
    )
    trainer = start(config, data)
    trainer.model.train()
    return trainer


@pytest.mark.parametrize(
    ("frozen", "row_tokens", "precision"), [(0, 0, "float32"), (1, 0, "bfloat16"), (0, 32, "float32")]
)
@pytest.mark.parametrize("policy", get_args(Policy))
def test_no_step_reads_a_number_from_the_device(
    data: Path, policy: Policy, frozen: int, row_tokens: int, precision: str
) -> None:
    trainer = trainer_of(data, policy, frozen=frozen, row_tokens=row_tokens, precision=precision)
    updates = set()
    for step in trainer.epoch_steps():
        found = counted(lambda step=step: trainer.take_step(step))  # type: ignore[misc]
        assert not found.waiting
        assert found.launching["_fused_adamw_"] >= 1
        updates.add(step.plan.update_encoder)
    assert updates == ({True, False} if policy == "accumulated" else {True})
    trainer.check_finite()


def test_a_read_in_the_head_is_found(data: Path) -> None:
    """The control of the test above."""
    trainer = trainer_of(data, "cached", frozen=0, row_tokens=0, precision="float32")
    head = trainer.model["head"]
    head.register_forward_hook(lambda _module, _given, loss: loss + 0 * loss.item())
    step = next(trainer.epoch_steps())
    assert counted(lambda: trainer.take_step(step)).waiting == {"_local_scalar_dense": 1}


@pytest.mark.parametrize(
    "read",
    [
        lambda x: float(x.sum()),
        lambda x: bool((x > 0).all()),
        lambda x: x[x > 0],
        lambda x: x.nonzero(),
        lambda x: torch.equal(x, x),
        lambda x: x.unique(),
    ],
)
def test_each_kind_of_read_is_counted(read: Callable[[Tensor], object]) -> None:
    assert counted(lambda: read(torch.ones(3))).waiting
    assert not counted(lambda: torch.ones(3).view(3, 1).add(1).sum()).waiting


def test_views_launch_nothing() -> None:
    assert counted(lambda: torch.ones(4, 2).t()[1:].unsqueeze(0).expand(3, 1, 4).detach()).launching == {"ones": 1}
    assert counted(lambda: torch.ones(4).mul(2)).launching == {"ones": 1, "mul": 1}
