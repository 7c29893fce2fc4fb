"""A lazily imported library loads only when it is used."""

from __future__ import annotations

import subprocess
import sys

from jobs.tracking.lazily import lazy_module
from tests.conftest import REPOSITORY

_LOADED = "import sys; print('mlflow.tracking' in sys.modules)"


def said(program: str) -> list[str]:
    done = subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_a_missing_library_is_none() -> None:
    assert lazy_module("no_library_of_this_name") is None


def test_a_loaded_module_is_returned_unchanged() -> None:
    assert lazy_module("subprocess") is subprocess


def test_mlflow_loads_on_first_use_with_telemetry_off() -> None:
    used = "job.mlflow.MlflowClient; from mlflow.telemetry import get_telemetry_client as client; print(client())"
    program = f"import jobs.train, jobs.tracking.mlflow_run as job; {_LOADED}; {used}; {_LOADED.partition(';')[2]}"
    assert said(program) == ["False", "None", "True"]
