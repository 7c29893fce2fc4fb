"""Timed portions take real training steps, also from a checkpoint on."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from jobs.bench.encode_once import encode_once
from jobs.bench.memory import ARMS, memory
from jobs.bench.policy_speed import resumed_trainer, skip_steps, time_portions, trainer_of, with_policy
from tests.packed import packed_directory, tiny_plm
from tests.trainer.loop.test_trainer import fit, ready, start
from trainer.checkpoint.files import save_checkpoint
from trainer.config import TrainConfig
from trainer.encode.policies import PlannerConfig
from trainer.model.text_encoder import TextEncoderConfig
from trainer.run_config import RunConfig
from trainer.setup.prepare import Prepared


@pytest.fixture
def prepared(tmp_path: Path) -> Prepared:
    config = TrainConfig(
        run=RunConfig(epochs=1, batches_per_step=2, samples_per_step=5, reader="arrow"),
        encoder=TextEncoderConfig(plm=tiny_plm(tmp_path / "plm"), frozen_layers=0, vector_width=8, pooling_width=8),
        planner=PlannerConfig(policy="cached", warm_up_steps=1, max_age_steps=4, chunk_sizes=(16, 4)),
    )
    return ready(config, packed_directory(tmp_path / "packed"))


def test_portions_are_consecutive_steps_of_the_epoch(prepared: Prepared) -> None:
    before = {name: tensor.clone() for name, tensor in prepared.model.state_dict().items()}
    trainer = trainer_of(prepared, with_policy(prepared.config, "naive_per_target"))
    found = list(time_portions(trainer, [1, 2, 3]))
    assert [portion.packed_steps for portion in found] == [1, 2, 3]
    assert trainer.position.epoch_step == trainer.packed_steps() == 6
    assert sum(portion.targets for portion in found) == prepared.directory.manifest.counts["targets"]
    assert trainer.step > 6  # steps of five targets each
    assert all(0 <= portion.waited < portion.seconds for portion in found)
    assert all(torch.equal(before[name], tensor) for name, tensor in prepared.model.state_dict().items())


def test_after_skipped_steps_items_are_looked_up_that_a_new_planner_encodes(prepared: Prepared) -> None:
    new, old = (trainer_of(prepared, with_policy(prepared.config, "cached")) for _ in range(2))
    skip_steps(old, 20)
    assert (old.step, old.position.epoch, old.position.epoch_step) == (20, 4, 0)
    (first,), (later,) = time_portions(new, [1]), time_portions(old, [1])
    assert later.encoded < first.encoded


def test_policies_resume_from_a_checkpoint(prepared: Prepared, tmp_path: Path) -> None:
    trainer = start(prepared.config, prepared.directory.path)
    fit(trainer, tmp_path / "run")
    saved = trainer.checkpoint()
    trained = resumed_trainer(prepared, saved, "cached")
    (found,) = time_portions(trained, [1])
    assert trained.step == trainer.step + 1 == 7
    assert found.encoded < found.asked  # the ages are those of the checkpoint

    save_checkpoint(saved, tmp_path / "checkpoint")
    measured = encode_once(
        checkpoint=tmp_path / "checkpoint", data=prepared.directory.path, policies=("naive_per_target", "once")
    )
    assert measured["once"]["encoded"] < measured["naive_per_target"]["encoded"]
    assert measured["once"]["targets"] == measured["naive_per_target"]["targets"]
    found_memory = memory(checkpoint=tmp_path / "checkpoint", data=prepared.directory.path, repeats=1)
    assert set(found_memory["peak_bytes"]) == set(ARMS)
    assert found_memory["memory_ratio"]["once, two-phase"] < found_memory["memory_ratio"]["naive"] == 1


def test_a_checkpoint_in_memory_does_not_change_when_training_continues(prepared: Prepared) -> None:
    trainer = trainer_of(prepared, replace(prepared.config, planner=replace(prepared.config.planner, policy="carried")))
    list(time_portions(trainer, [2]))
    saved = trainer.checkpoint()
    before = copy.deepcopy(saved.tensors)
    list(time_portions(trainer, [2]))
    now = trainer.checkpoint().tensors
    for part, tensors in saved.tensors.items():
        assert all(torch.equal(before[part][name], tensor) for name, tensor in tensors.items())
        constant = part in ("tokens", "random-0")
        assert constant == all(torch.equal(now[part][name], tensor) for name, tensor in tensors.items())
