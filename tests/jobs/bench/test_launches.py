"""bench launches counts operators and host reads of a step where there is no GPU."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from jobs.bench.launches import LaunchesConfig
from tests.jobs.bench.bare import bench


def test_counts_are_made_without_spark_petastorm_and_command_line_libraries(tmp_path: Path) -> None:
    small = ("--items", "128", "--trajectories", "8", "--batch-trajectories", "2", "--policies", "once")
    done = bench(tmp_path, "launches", *small)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert [[name for name in ("once_small", "once_large") if name in line] for line in lines] == [
        ["once_small"],
        ["once_small", "once_large"],
        ["once_small", "once_large"],
    ]
    found = lines[-1]
    for name in ("once_small", "once_large"):
        assert found[name]["reads_per_step"] == 0
        assert found[name]["items"] > 0
        assert found[name]["launches_per_item"] > 0
        assert found[name]["gpu"] is None  # kernels, waits and idle time are a GPU's
    assert found["once_fewer"] == found["once_small"]["launches_per_item"] / found["once_large"]["launches_per_item"]
    assert found["once_large"]["chunks"] <= found["once_small"]["chunks"]


def test_invalid_options_are_rejected() -> None:
    with pytest.raises(ValueError, match=r"--policies names \['twice'\]"):
        LaunchesConfig(policies=("twice",))
    with pytest.raises(ValueError, match="more batches of --trajectories than steps"):
        LaunchesConfig(trajectories=512)
