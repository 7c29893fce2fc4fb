"""Runs a benchmark with only torch, transformers, numpy, pyarrow, safetensors and msgspec of our dependencies."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.conftest import REPOSITORY

GONE = (
    "pyspark", "petastorm", "delta", "deltalake", "arro3", "pandas", "numba", "duckdb", "faiss", "cyclopts", "rich",
    "docstring_parser", "matplotlib", "plotly", "mlflow", "tensorboard", "sklearn", "stopwordsiso",
)  # fmt: skip


def bench(folder: Path, name: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Run `python -m jobs.bench.NAME` on the CPU with one thread."""
    for library in GONE:
        (folder / f"{library}.py").write_text("raise ImportError('not on this machine')\n")
    environment = {**os.environ, "PYTHONPATH": f"{folder}:{REPOSITORY}", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", f"jobs.bench.{name}", "--device", "cpu", *options]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
