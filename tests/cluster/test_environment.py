"""The archive of `package --environment`: executors that have no Python of ours run on what they unpack of it."""

from __future__ import annotations

import json
import os
import subprocess
import tarfile
from pathlib import Path

import pytest

from jobs.make_sample import make_sample
from jobs.package import package
from tests.cluster.test_standalone import WORKERS, cluster, submitted

_IMPORTS = "import numba, numpy, pandas, petastorm, pyarrow, pyspark, sqlite3, ssl, sys; print(sys.prefix)"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_workers_without_our_python_ingest_with_the_archive(tmp_path: Path) -> None:
    made = package(out=tmp_path / "package", environment=True)
    moved = tmp_path / "moved"
    with tarfile.open(tmp_path / "package" / "environment.tar.gz") as packed:
        packed.extractall(moved, filter="data")
    bare = {"PATH": "/usr/bin:/bin"}
    command = [str(moved / "bin" / "python"), "-c", _IMPORTS]
    said = subprocess.run(command, env=bare, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert said.stdout.strip() == str(moved), said.stderr

    make_sample(size="tiny", out=tmp_path / "sample")
    line = made["submit"]["ingest"].replace("LAKE", "lake").replace("LOGS", "sample")
    assert "environment.tar.gz#environment" in line
    with cluster(tmp_path) as url:
        summary = json.loads(submitted(line, url, tmp_path, patience=500).splitlines()[-1])
    assert summary["impressions"] > 0
    unpacked = [path for path in tmp_path.glob("worker[01]/app-*/*/environment") if os.path.exists(path / "bin/python")]
    assert len(unpacked) == WORKERS
