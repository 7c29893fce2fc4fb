"""A run with trackers: it is recorded in each of them, and takes the same steps as a run without."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from jobs.cli.watch import watched
from jobs.tracking.curves import FOLDER
from jobs.tracking.mlflow_run import EXPERIMENT, mlflow
from jobs.train import train
from schemas.storage.place import Place
from tests.jobs.tracking.test_curves import scalars
from tests.packed import packed_directory
from tests.trainer.loop.test_metrics_log import lines, timeless
from tests.trainer.loop.test_session import config
from tests.trainer.loop.test_trainer import start
from trainer.config import TrainConfig
from trainer.optimise.optimiser import NonFiniteError


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return packed_directory(tmp_path / "packed", trajectories=48)


def with_run(chosen: TrainConfig, **run: Any) -> TrainConfig:
    return replace(chosen, run=replace(chosen.run, **run))


def store_of(folder: Path) -> str:
    return f"sqlite:///{folder}/mlflow.db"


def only_run(folder: Path) -> Any:
    client = mlflow.MlflowClient(tracking_uri=store_of(folder))
    (run,) = client.search_runs([client.get_experiment_by_name(EXPERIMENT).experiment_id])
    return run


def test_a_watched_run_is_reported_everywhere_and_takes_the_same_steps(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = with_run(config(tmp_path), tensorboard=False)
    all_trackers = with_run(
        plain, tensorboard=True, mlflow=store_of(tmp_path), profile_steps=2, early_stop_epochs=9, keep_checkpoints=9
    )
    assert train(data=data, out=Place.of(tmp_path / "plain"), config=plain, device="cpu") is not None
    capsys.readouterr()
    summary = train(data=data, out=Place.of(tmp_path / "run"), config=all_trackers, device="cpu")
    assert summary is not None
    logged = lines(tmp_path / "run")
    assert [timeless(line) for line in logged] == [timeless(line) for line in lines(tmp_path / "plain")]
    ours, theirs = (
        load_file(tmp_path / run / "checkpoint" / "step-00000018" / "model.safetensors") for run in ("run", "plain")
    )
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)

    assert not (tmp_path / "plain" / FOLDER).exists()
    for tag in ("quality/loss", "speed/clicks_per_second", "encoding/cache_age_mean", "optimiser/gradient_norm_head"):
        name = tag.partition("/")[2]
        assert scalars(tmp_path / "run", tag) == [(line["step"], pytest.approx(line[name])) for line in logged]
    quality = scalars(tmp_path / "run", "quality/auc")
    assert [step for step, _ in quality] == [6, 12, 18]
    assert max(auc for _, auc in quality) == pytest.approx(summary["best"]["auc"])

    run = only_run(tmp_path)
    assert run.info.status == "FINISHED"
    assert run.data.metrics["loss"] == summary["loss"]
    assert run.data.metrics["auc"] == pytest.approx(quality[-1][1])
    (trace,) = (tmp_path / "run" / "profile").iterdir()
    assert trace.name == "steps-00000004-00000005.json.gz"
    printed = " ".join(capsys.readouterr().err.split())
    assert "Profile of 2 steps" in printed
    assert "aten::" in printed


def test_a_run_that_fails_is_reported_as_failed(data: Path, tmp_path: Path) -> None:
    chosen = with_run(config(tmp_path), mlflow=store_of(tmp_path))
    wild = replace(chosen, optimiser=replace(chosen.optimiser, learning_rate=1e38))
    with pytest.raises(NonFiniteError):
        train(data=data, out=Place.of(tmp_path / "run"), config=wild, device="cpu")
    assert only_run(tmp_path).info.status == "FAILED"


def test_a_store_that_is_gone_does_not_hide_why_a_run_failed(data: Path, tmp_path: Path) -> None:
    trainer = start(with_run(config(tmp_path), mlflow=store_of(tmp_path)), data)

    def begun_and_failed() -> None:
        with watched(trainer, tmp_path / "run") as watch:
            watch.begin()
            (tmp_path / "mlflow.db").unlink()
            raise NonFiniteError("the loss is nan.")

    (tmp_path / "run").mkdir()
    with pytest.raises(NonFiniteError, match="the loss is nan") as failed:
        begun_and_failed()
    assert "the MLflow store sqlite:" in failed.value.__notes__[0]
