"""The staleness watch: what it measures, what it changes, and that it disturbs nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.packed import packed_directory, tiny_plm
from tests.trainer.loop.test_trainer import fit, fit_in_two, start
from trainer.config import TrainConfig
from trainer.encode.plan import MaxAgeChange
from trainer.encode.planner import make_planner
from trainer.encode.policies import PlannerConfig
from trainer.loop.metrics_log import RunLog
from trainer.loop.staleness import Drift, StalenessWatch
from trainer.loop.trainer import Trainer
from trainer.model.text_encoder import TextEncoderConfig
from trainer.optimise.optimiser import OptimiserConfig
from trainer.run_config import RunConfig


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return packed_directory(tmp_path / "packed", trajectories=96)


def config_of(folder: Path, *, dropout: float = 0.0, rate: float = 0.0, limit: float = 0.0) -> TrainConfig:
    plm = tiny_plm(folder / f"plm-{dropout}", dropout=dropout)
    return TrainConfig(
        run=RunConfig(epochs=2, drift_every_steps=1, plan_ahead=2, reader="arrow"),
        encoder=TextEncoderConfig(plm=plm, frozen_layers=0, vector_width=8, pooling_width=8),
        planner=PlannerConfig(max_age_steps=8, warm_up_steps=1, chunk_sizes=(16, 4), drift_limit=limit),
        optimiser=OptimiserConfig(encoder_learning_rate=rate, learning_rate=rate, warm_up_share=0.0),
    )


def drifts(trainer: Trainer, folder: Path) -> list[Drift]:
    folder.mkdir()
    log = RunLog(path=folder / "metrics.jsonl", every=3, total_steps=trainer.total_steps)
    trainer.fit(log)
    assert sum(log.totals.looked_up_by_age) == log.totals.looked_up > 0
    assert log.totals.looked_up_by_age[0] == 0
    assert len(log.totals.looked_up_by_age) <= 9
    return log.drifts


def test_still_weights_without_dropout_do_not_drift(data: Path, tmp_path: Path) -> None:
    found = drifts(start(config_of(tmp_path), data), tmp_path / "run")
    assert len(found) > 10
    assert max(max(drift.looked_up, drift.encoded) for drift in found) < 1e-5


def test_dropout_is_distinguished_from_drift(data: Path, tmp_path: Path) -> None:
    found = drifts(start(config_of(tmp_path, dropout=0.2), data), tmp_path / "run")
    mean = torch.tensor([[drift.looked_up, drift.encoded] for drift in found]).mean(0)
    assert mean.min() > 0.05
    assert float(mean[0]) == pytest.approx(float(mean[1]), rel=0.2)
    moved = drifts(start(config_of(tmp_path, rate=3e-2), data), tmp_path / "moved")
    mean = torch.tensor([[drift.looked_up, drift.encoded] for drift in moved]).mean(0)
    assert mean[0] > 1.3 * mean[1]


def test_a_watched_run_takes_the_same_steps(data: Path, tmp_path: Path) -> None:
    config = config_of(tmp_path, dropout=0.1, rate=1e-2)
    blind = replace(config, run=replace(config.run, drift_every_steps=0))
    assert fit(start(config, data), tmp_path / "a") == fit(start(blind, data), tmp_path / "b")


def test_a_limit_halves_the_life_of_vectors_once_they_had_time() -> None:
    config = PlannerConfig(max_age_steps=8, drift_limit=0.5)
    watch = StalenessWatch(config, make_planner(config, rows=3, seed=1), plan_ahead=2)
    watch.apply(Drift(looked_up=0.7, encoded=0.3), 0)  # .4 above what dropout does
    assert watch.changes == []
    watch.apply(Drift(looked_up=0.9, encoded=0.3), 1)
    for step in range(2, 9):  # vectors of before are still looked up
        watch.apply(Drift(looked_up=0.9, encoded=0.3), step)
    assert watch.changes == [MaxAgeChange(5, 4)]
    watch.apply(Drift(looked_up=0.9, encoded=0.3), 9)
    watch.apply(Drift(looked_up=0.9, encoded=0.3), 99)
    watch.apply(Drift(looked_up=0.9, encoded=0.3), 199)
    assert [change.max_age_steps for change in watch.changes] == [4, 2, 1]


@pytest.mark.parametrize("stop_at", [3, 6, 20])
def test_a_run_with_a_shortened_age_resumes_to_the_bit(data: Path, tmp_path: Path, stop_at: int) -> None:
    config = config_of(tmp_path, rate=3e-2, limit=0.01)
    unbroken = start(config, data)
    losses = fit(unbroken, tmp_path / "unbroken")
    assert unbroken.watch.max_age_steps < 8
    free = replace(config, planner=replace(config.planner, drift_limit=0.0))
    assert fit(start(free, data), tmp_path / "free") != losses
    second, in_two = fit_in_two(config, data, tmp_path, stop_at=stop_at)
    assert in_two == losses
    assert second.watch.changes == unbroken.watch.changes
