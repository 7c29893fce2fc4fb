"""bench steps takes real training steps of every policy with only torch and data libraries installed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from jobs.bench.plain_options import run_plain
from jobs.bench.steps import StepsConfig, steps
from tests.jobs.bench.bare import bench

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
                bfloat16=True,
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


def test_invalid_options_are_rejected(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.argv", ["steps", "--policies", "once", "twice"])
    assert run_plain("steps", "", StepsConfig, steps) == 2
    assert "bench steps: --policies names ['twice']: use naive_per_target, naive, once" in capsys.readouterr().err
    with pytest.raises(ValueError, match="give 4 packed steps, and 28 are taken"):
        StepsConfig(trajectories=256)
    with pytest.raises(ValueError, match="a multiple of 4"):
        StepsConfig(steps=3)
