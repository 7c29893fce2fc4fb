"""Starts trainings in separate processes, in a folder that holds `packed` and a tiny `plm`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.conftest import REPOSITORY


def begin(folder: Path, out: str, *options: str, launcher: tuple[str, ...] = (), **more: str) -> subprocess.Popen[str]:
    """`more`: environment variables."""
    command = [sys.executable, *launcher, "-m", "jobs.train", "--data", "packed", "--out", out, "--encoder.plm", "plm"]
    model = ["--run.log-every-steps", "1", "--encoder.frozen-layers", "1", "--planner.warm-up-steps", "5"]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "HF_HUB_OFFLINE": "1", **more}
    return subprocess.Popen(
        [*command, *model, *options],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finished(process: subprocess.Popen[str]) -> tuple[dict[str, Any], str]:
    """The summary and the stderr of the process."""
    printed, reported = process.communicate(timeout=600)
    assert process.returncode == 0, reported
    (line,) = (line for line in printed.splitlines() if line.startswith("{"))
    return dict(json.loads(line)), reported


def once(happened: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    """Wait for the condition, or for the end of the process."""
    while not happened() and process.poll() is None:
        time.sleep(0.002)
