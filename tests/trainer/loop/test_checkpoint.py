"""Checkpoints: complete or absent, and nothing in them can run."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch

from trainer.loop.checkpoint import Checkpoint, ResumeError, load_checkpoint, save_checkpoint
from trainer.loop.optimiser import Optimiser, OptimiserConfig, schedule


def saved(path: Path) -> Path:
    save_checkpoint(Checkpoint(tensors={"model": {"a": torch.arange(3.0)}}, state={"position": {"step": 3}}), path)
    return path


def test_a_checkpoint_comes_back(tmp_path: Path) -> None:
    loaded = load_checkpoint(saved(tmp_path / "c"))
    assert torch.equal(loaded.tensors["model"]["a"], torch.arange(3.0))
    assert loaded.state["position"] == {"step": 3}
    assert [path.name for path in tmp_path.iterdir()] == ["c"]


@pytest.mark.parametrize("damage", ["cut", "pickle", "missing"])
def test_a_damaged_checkpoint_is_refused_by_name(tmp_path: Path, damage: str) -> None:
    file = saved(tmp_path / "c") / "model.safetensors"
    if damage == "cut":
        file.write_bytes(file.read_bytes()[:-4])
    elif damage == "pickle":
        file.write_bytes(pickle.dumps({"a": 1}))
    else:
        file.unlink()
    with pytest.raises(ResumeError, match=r"c: the checkpoint is damaged"):
        load_checkpoint(tmp_path / "c")


def test_a_folder_that_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ResumeError, match=r"no state\.json.*jobs\.train"):
        load_checkpoint(tmp_path)


def test_gradients_are_sums_and_divided_by_the_count() -> None:
    weight = torch.nn.Parameter(torch.zeros(2, 2))
    twin = torch.nn.Parameter(torch.zeros(2, 2))
    for parameter, scale in ((weight, 8.0), (twin, 1.0)):
        optimiser = Optimiser(OptimiserConfig(clip_norm=0.5), plm=[], rest=[parameter], steps=10)
        parameter.grad = torch.tensor([[3.0, 0.0], [0.0, 4.0]]) * scale
        optimiser.step(scale, update_encoder=True)
        assert parameter.grad.norm() == pytest.approx(0.5, rel=1e-3)
    assert torch.equal(weight, twin)


def test_a_count_of_zero_moves_nothing_but_the_schedule() -> None:
    weight = torch.nn.Parameter(torch.ones(2))
    optimiser = Optimiser(OptimiserConfig(), plm=[], rest=[weight], steps=10)
    weight.grad = torch.ones(2)
    optimiser.step(0.0, update_encoder=True)
    assert torch.equal(weight.detach(), torch.ones(2))
    assert optimiser.taken == 1


def test_an_encoder_that_rests_does_not_decay() -> None:
    plm, rest = torch.nn.Parameter(torch.ones(2, 2)), torch.nn.Parameter(torch.ones(2, 2))
    optimiser = Optimiser(
        OptimiserConfig(encoder_learning_rate=0.1, learning_rate=0.1), plm=[plm], rest=[rest], steps=4
    )
    for parameter in (plm, rest):
        parameter.grad = torch.ones(2, 2)
    optimiser.step(1.0, update_encoder=False)
    assert torch.equal(plm.detach(), torch.ones(2, 2))
    assert not torch.equal(rest.detach(), torch.ones(2, 2))


def test_the_rate_rises_then_falls_to_nothing() -> None:
    factors = [schedule(step, 20, 0.25) for step in range(21)]
    assert factors[4] == 1.0
    assert factors[:5] == sorted(factors[:5])
    assert factors[4:] == sorted(factors[4:], reverse=True)
    assert factors[20] == 0.0
