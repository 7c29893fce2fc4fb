"""Logs a training run to an MLflow store: its options, its metrics by step, and the table versions of its data.

MLflow loads when it is first used.
"""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from schemas.errors import InputError
from schemas.regular_file import read_bytes
from schemas.strict_json import ShortText, decoded
from trainer.data.directory import PackedDirectory
from trainer.loop.trainer import Trainer


def lazy_module(name: str) -> ModuleType | None:
    """The module, which loads at the first look into it; None where it is not installed."""
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.find_spec(name)
    if spec is None or spec.loader is None:
        return None
    spec.loader = importlib.util.LazyLoader(spec.loader)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # otherwise MLflow reports every run to its makers
if TYPE_CHECKING:
    import mlflow
else:
    mlflow = lazy_module("mlflow")  # loading takes two seconds

EXPERIMENT = "feedloop"
RUN_FILE = "mlflow.json"
_MAX_BYTES = 1 << 16  # bytes of mlflow.json
_CODE = Path(__file__).resolve().parents[2]
_MAX_DIGEST = 36  # characters of a digest that a store accepts


@dataclass(frozen=True, slots=True, kw_only=True)
class _RunFile:
    """The content of mlflow.json."""

    tracking_uri: ShortText
    run_id: ShortText


def check() -> None:
    """InputError if MLflow is not installed."""
    if mlflow is None:
        raise InputError(
            "run.mlflow names a store, and mlflow is not installed: uv pip install -r requirements/mlflow.txt, or "
            "leave run.mlflow empty"
        )


class MlflowRun:
    """One run in the store. A resumed run continues it: its id is stored in the run's folder."""

    def __init__(self, trainer: Trainer, out: Path) -> None:
        """Create the run in the store, or continue it; InputError if the store cannot be used."""
        self._uri = trainer.config.run.mlflow
        with self._store():
            client = mlflow.MlflowClient  # loads the library, which sets its loggers
            logging.getLogger("mlflow").setLevel(logging.WARNING)  # for a new database it logs its tables
            self._client = client(tracking_uri=_with_folder(self._uri))
            known = _stored_run_id(out / RUN_FILE, self._uri)
            self._id = known or self._create_run(trainer, out)
            if known:
                self._client.update_run(known, status="RUNNING")
            self._logged_steps = {key: self._last_step(key) for key in ("loss", "auc")}

    def line(self, line: dict[str, Any]) -> None:
        """Log the numbers of a line of metrics.jsonl, unless that step is logged already."""
        numbers = {key: value for key, value in line.items() if isinstance(value, int | float)}
        self._log({key: value for key, value in numbers.items() if key not in {"step", "steps"}}, line["step"], "loss")

    def evaluated(self, step: int, auc: float) -> None:
        """Log an epoch's AUC."""
        self._log({"auc": auc}, step, "auc")

    def end(self, status: str) -> None:
        """Set the status: FINISHED, KILLED (asked to stop) or FAILED."""
        with self._store():
            self._client.set_terminated(self._id, status)

    def _log(self, numbers: dict[str, float], step: int, key: str) -> None:
        if step <= self._logged_steps[key]:
            return
        now = int(time.time() * 1000)
        metrics = [mlflow.entities.Metric(name, float(value), now, step) for name, value in numbers.items()]
        with self._store():
            self._client.log_batch(self._id, metrics=metrics)
        self._logged_steps[key] = step

    def _last_step(self, key: str) -> int:
        return max((metric.step for metric in self._client.get_metric_history(self._id, key)), default=-1)

    def _create_run(self, trainer: Trainer, out: Path) -> str:
        found = self._client.get_experiment_by_name(EXPERIMENT)
        experiment = found.experiment_id if found else self._client.create_experiment(EXPERIMENT)
        tags = {"mlflow.source.name": "feedloop train", "packed_manifest_sha256": trainer.directory.manifest_sha256}
        if commit := code_commit():
            tags["mlflow.source.git.commit"] = commit
        run_id = str(self._client.create_run(experiment, run_name=out.resolve().name, tags=tags).info.run_id)
        (out / RUN_FILE).write_text(json.dumps({"tracking_uri": self._uri, "run_id": run_id}) + "\n")
        options = trainer.config.flat().items()
        self._client.log_batch(run_id, params=[mlflow.entities.Param(key, str(value)) for key, value in options])
        self._client.log_inputs(run_id, datasets=list(inputs(trainer.directory)))
        return run_id

    @contextmanager
    def _store(self) -> Iterator[None]:
        """Turn an error of the store into an InputError that says how to continue."""
        try:
            yield
        except mlflow.exceptions.MlflowException as error:
            first = str(error).partition("\n")[0]
            raise InputError(
                f"the MLflow store {self._uri} reports: {first} Make it reachable, or leave run.mlflow empty; "
                "--resume auto resumes the run"
            ) from error


def inputs(directory: PackedDirectory) -> Iterator[Any]:
    """MLflow's dataset inputs: the packed directory, and each lake table at the packed Delta version."""
    registry = mlflow.data.dataset_source_registry
    folder = registry.get_dataset_source_from_json(json.dumps({"uri": str(directory.place)}), "local")
    yield _input(folder, directory.place.name, directory.manifest_sha256[:_MAX_DIGEST], "training")
    ids = directory.manifest.config.get("table_ids", {})
    for table, version in sorted(directory.manifest.inputs.items()):
        source = mlflow.data.delta_dataset_source.DeltaDatasetSource(path=table, delta_table_version=version)
        yield _input(source, f"{table}@v{version}", ids.get(table, f"{table}-v{version}")[:_MAX_DIGEST], "lake")


def _input(source: Any, name: str, digest: str, context: str) -> Any:
    description = mlflow.data.meta_dataset.MetaDataset(source, name=name, digest=digest).to_dict()
    data_set = mlflow.entities.Dataset(**{key: description[key] for key in ("name", "digest", "source_type", "source")})
    return mlflow.entities.DatasetInput(data_set, [mlflow.entities.InputTag("mlflow.data.context", context)])


def code_commit() -> str | None:
    """The git commit of this code; None outside a checkout."""
    try:
        git = subprocess.run(["git", "rev-parse", "HEAD"], cwd=_CODE, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return None
    return git.stdout.strip() if git.returncode == 0 else None


def _with_folder(uri: str) -> str:
    """The URI, after the folder of a SQLite file is made."""
    if uri.startswith("sqlite:///"):
        Path(urlsplit(uri).path[1:]).parent.mkdir(parents=True, exist_ok=True)
    return uri


def _stored_run_id(file: Path, uri: str) -> str | None:
    """The id of this folder's run in that store; None if it has none."""
    if not os.path.lexists(file):
        return None
    error_options: dict[str, Any] = {"advice": "Remove it: the run then starts again in the store", "error": InputError}
    kept = decoded(read_bytes(file, largest=_MAX_BYTES, **error_options), _RunFile, str(file), **error_options)
    return kept.run_id if kept.tracking_uri == uri else None
