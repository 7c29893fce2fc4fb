"""A run in a real MLflow store in a SQLite file, read by MLflow's own client; no other run loads MLflow."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from jobs.tracking import mlflow_run
from jobs.tracking.mlflow_run import EXPERIMENT, RUN_FILE, MlflowRun, code_commit, lazy_module
from schemas.errors import InputError
from tests.conftest import REPOSITORY
from tests.jobs.tracking.test_curves import line
from tests.packed import packed_directory, tiny_plm
from tests.trainer.loop.test_trainer import start
from trainer.config import TrainConfig
from trainer.loop.trainer import Trainer
from trainer.model.text_encoder import TextEncoderConfig
from trainer.run_config import RunConfig

_LOADED = "import sys; print('mlflow.tracking' in sys.modules)"


@pytest.fixture(scope="module")
def trainer(tmp_path_factory: pytest.TempPathFactory) -> Trainer:
    folder = tmp_path_factory.mktemp("mlflow")
    data = packed_directory(folder / "packed", seed=7, config={"table_ids": {"trajectories": "c91770f3"}})
    return start(
        TrainConfig(
            run=RunConfig(mlflow=f"sqlite:///{folder}/deeper/store.db", seed=5),
            encoder=TextEncoderConfig(plm=tiny_plm(folder / "plm"), frozen_layers=0, vector_width=8, pooling_width=8),
        ),
        data,
    )


@pytest.fixture
def out(tmp_path: Path) -> Path:
    folder = tmp_path / "run-1"
    folder.mkdir()
    return folder


def client(trainer: Trainer) -> Any:
    return mlflow_run.mlflow.MlflowClient(tracking_uri=trainer.config.run.mlflow)


def stored(trainer: Trainer, out: Path) -> Any:
    return client(trainer).get_run(json.loads((out / RUN_FILE).read_text())["run_id"])


def points(trainer: Trainer, out: Path, name: str) -> list[tuple[int, float]]:
    run_id = stored(trainer, out).info.run_id
    return [(metric.step, metric.value) for metric in client(trainer).get_metric_history(run_id, name)]


def test_a_run_is_logged_with_its_options_metrics_and_tags(trainer: Trainer, out: Path) -> None:
    logged = MlflowRun(trainer, out)
    assert stored(trainer, out).info.status == "RUNNING"
    logged.line(line(2, cache_age_mean=1.5))
    logged.line(line(4))
    logged.evaluated(4, 0.625)
    logged.end("FINISHED")
    run = stored(trainer, out)
    assert (run.info.status, run.info.run_name) == ("FINISHED", "run-1")
    assert client(trainer).get_experiment(run.info.experiment_id).name == EXPERIMENT
    assert run.data.params == {name: str(value) for name, value in trainer.config.flat().items()}
    assert run.data.params["run.seed"] == "5"
    assert run.data.tags["packed_manifest_sha256"] == trainer.directory.manifest_sha256
    assert run.data.tags.get("mlflow.source.git.commit") == code_commit()
    assert points(trainer, out, "loss") == [(2, 0.5), (4, 1.0)]
    assert points(trainer, out, "cache_age_mean") == [(2, 1.5)]
    assert points(trainer, out, "auc") == [(4, 0.625)]
    assert set(run.data.metrics) == {"loss", "encoded", "cache_age_mean", "auc"}


def test_its_inputs_name_the_lake_tables_with_their_versions(trainer: Trainer, out: Path) -> None:
    MlflowRun(trainer, out).end("FINISHED")
    found = {given.dataset.name: given for given in stored(trainer, out).inputs.dataset_inputs}
    packed, table = found["packed"], found["trajectories@v7"]
    assert (table.dataset.source_type, table.dataset.digest) == ("delta_table", "c91770f3")
    assert json.loads(table.dataset.source) == {"path": "trajectories", "delta_table_version": 7}
    assert trainer.directory.manifest_sha256.startswith(packed.dataset.digest)
    assert json.loads(packed.dataset.source) == {"uri": str(trainer.directory.path)}
    assert [given.tags[0].value for given in (packed, table)] == ["training", "lake"]


def test_a_resumed_run_is_the_same_run_and_logs_each_step_once(trainer: Trainer, out: Path) -> None:
    killed = MlflowRun(trainer, out)
    for step in (2, 4):
        killed.line(line(step))
    killed.evaluated(4, 0.5)
    first = stored(trainer, out).info.run_id
    again = MlflowRun(trainer, out)
    for step in (4, 6):
        again.line(line(step))
    again.evaluated(4, 0.5)
    again.evaluated(6, 0.75)
    again.end("KILLED")
    assert stored(trainer, out).info.run_id == first
    assert points(trainer, out, "loss") == [(2, 0.5), (4, 1.0), (6, 1.5)]
    assert points(trainer, out, "auc") == [(4, 0.5), (6, 0.75)]
    assert stored(trainer, out).info.status == "KILLED"


def test_an_ended_run_is_running_again_when_it_resumes(trainer: Trainer, out: Path) -> None:
    MlflowRun(trainer, out).end("KILLED")
    MlflowRun(trainer, out)
    assert stored(trainer, out).info.status == "RUNNING"


def test_another_store_gets_a_separate_run(trainer: Trainer, out: Path, tmp_path: Path) -> None:
    MlflowRun(trainer, out)
    first = stored(trainer, out).info.run_id
    kept, trainer.config = (
        trainer.config,
        replace(trainer.config, run=replace(trainer.config.run, mlflow=f"sqlite:///{tmp_path}/other.db")),
    )
    try:
        MlflowRun(trainer, out)
        assert stored(trainer, out).info.run_id != first
    finally:
        trainer.config = kept


def test_a_run_that_the_store_has_lost_is_reported_with_advice(trainer: Trainer, out: Path) -> None:
    (out / RUN_FILE).write_text(json.dumps({"tracking_uri": trainer.config.run.mlflow, "run_id": "0" * 32}))
    with pytest.raises(InputError, match=r"store sqlite:.* reports: .*0{32}.*leave run.mlflow empty"):
        MlflowRun(trainer, out)


def test_a_missing_library_is_reported_with_the_way_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow_run.check()
    monkeypatch.setattr(mlflow_run, "mlflow", None)
    with pytest.raises(InputError, match=r"uv pip install -r requirements/mlflow.txt, or leave run.mlflow empty"):
        mlflow_run.check()


def test_a_password_in_the_uri_is_rejected() -> None:
    with pytest.raises(ValueError, match=r"run.mlflow holds a password"):
        RunConfig(mlflow="postgresql://me:secret@store/mlflow")


def said(program: str) -> list[str]:
    done = subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_a_missing_library_is_none() -> None:
    assert lazy_module("no_library_of_this_name") is None


def test_a_loaded_module_is_returned_unchanged() -> None:
    assert lazy_module("subprocess") is subprocess


def test_mlflow_loads_when_it_is_used_and_reports_nothing_to_its_makers() -> None:
    used = "job.mlflow.MlflowClient; from mlflow.telemetry import get_telemetry_client as client; print(client())"
    program = f"import jobs.train, jobs.tracking.mlflow_run as job; {_LOADED}; {used}; {_LOADED.partition(';')[2]}"
    assert said(program) == ["False", "None", "True"]
