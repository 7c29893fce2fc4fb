"""bench steps takes real training steps of every policy with only torch and data libraries installed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from torch import Tensor

from jobs.bench.drawn_run import ModelConfig
from jobs.bench.plain_options import run_plain
from jobs.bench.policy_speed import Arm
from jobs.bench.steps import StepsConfig, steps
from tests.jobs.bench.bare import bench
from trainer.cost.memory import OutOfMemoryError
from trainer.loop.steps import PlannedStep
from trainer.loop.trainer import Trainer

ALL = ("naive_per_target", "naive", "once", "cached", "accumulated")


def test_every_policy_is_measured_without_spark_petastorm_and_command_line_libraries(tmp_path: Path) -> None:
    small = ("--items", "128", "--trajectories", "12", "--batch-trajectories", "1")
    done = bench(tmp_path, "steps", *small, "--chunk-size", "32", "--repeats", "1")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    encoded = [found[policy]["encoded_per_1000_clicks"] for policy in ALL]
    assert encoded[0] > encoded[1] > encoded[2] > max(encoded[3:])
    assert found["naive_per_target"]["peak_bytes"] > found["once"]["peak_bytes"] > 0
    assert len({found[policy]["targets_per_step"] for policy in ("naive_per_target", "naive", "once")}) == 1
    assert found["naive_per_target"]["speed_up"] == 1
    for policy in ALL:
        assert 0 < found[policy]["useful_mfu"] <= found[policy]["hardware_mfu"]
        assert found[policy]["real_tokens_per_second"] <= found[policy]["computed_tokens_per_second"]
        assert 0 <= found[policy]["data_wait"] < 1


def test_replay_costs_hardware_and_saves_memory() -> None:
    kept, replayed = (
        steps(
            StepsConfig(
                trajectories=24,
                items=128,
                batch_trajectories=2,
                chunk_size=32,
                policies=("once",),
                repeats=1,
                frozen_layers=1,
                precision="bfloat16",
                row_tokens=64,
                attention_dropout=0.0,
                kept_chunks=chunks,
            ),
            "cpu",
        )["once"]
        for chunks in (-1, 0)
    )
    assert replayed["peak_bytes"] < kept["peak_bytes"]
    ratios = [each["hardware_mfu"] / each["useful_mfu"] for each in (replayed, kept)]
    assert ratios[0] == pytest.approx(4 / 3 * ratios[1])


def test_a_policy_that_runs_out_of_memory_is_recorded_and_the_others_are_measured(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    take_step = Trainer.take_step

    def within_memory(self: Trainer, step: PlannedStep) -> Tensor:
        if self.config.planner.policy == "naive" and self.config.run.kept_chunks is None and self.step == 5:
            raise OutOfMemoryError("step 5: CUDA out of memory")
        return take_step(self, step)

    monkeypatch.setattr(Trainer, "take_step", within_memory)
    policies = ("naive", "naive_two_phase", "once")
    config = StepsConfig(
        trajectories=24, items=128, batch_trajectories=1, batches_per_step=2, policies=policies, repeats=1
    )
    found = steps(config, "cpu")
    assert found["naive"] == {"out_of_memory": "step 5: CUDA out of memory"}
    assert [name for name in found if name in policies] == list(policies)
    first, once = found["naive_two_phase"], found["once"]
    assert first["speed_up_low"] == 1
    assert first["encoded_per_step"] > once["encoded_per_step"] > 0
    assert first["peak_bytes"] < once["peak_bytes"]  # one chunk's graph at a time


def test_a_two_phase_policy_keeps_no_graph() -> None:
    assert Arm.of("naive_two_phase", kept_chunks=None) == ("naive", 0)
    assert Arm.of("once", kept_chunks=None) == ("once", None)
    assert Arm.of("once", kept_chunks=3) == ("once", 3)
    with pytest.raises(ValueError, match=r"use naive_per_target, .* each also as POLICY_two_phase"):
        Arm.of("twice_two_phase", kept_chunks=None)


def test_chunks_and_precision_are_those_that_training_chooses_for_the_device(tmp_path: Path) -> None:
    config = ModelConfig()
    training = config.training(tmp_path)
    assert (training.planner.chunk_sizes, training.run.precision) == (None, "auto")
    assert replace(config, chunk_size=512).training(tmp_path).planner.chunk_sizes == (512, 128)
    with pytest.raises(ValueError, match="--precision is 'half': use auto, native, float32, bfloat16"):
        replace(config, precision="half").training(tmp_path)


def test_invalid_options_are_rejected(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.argv", ["steps", "--policies", "once", "twice"])
    assert run_plain("steps", "", StepsConfig, steps) == 2
    assert "bench steps: --policies names 'twice': use naive_per_target, naive, once" in capsys.readouterr().err
    with pytest.raises(ValueError, match="give 4 packed steps, and 28 are taken"):
        StepsConfig(trajectories=256)
    with pytest.raises(ValueError, match="a multiple of 4"):
        StepsConfig(steps=3)
