"""bench step_sizes measures the policies at several step sizes on one packed directory."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from jobs.bench.step_sizes import StepSizesConfig
from tests.jobs.bench.bare import bench


def test_each_size_is_measured_and_printed_without_spark_petastorm_and_command_line_libraries(tmp_path: Path) -> None:
    data = ("--items", "128", "--trajectories", "24", "--batch-trajectories", "1")
    sizes = ("--step-batches", "2", "1", "--per-target-batches", "1", "--repeats", "1")
    done = bench(tmp_path, "step_sizes", *data, *sizes, "--policies", "naive_per_target", "naive_two_phase", "once")
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert [[size for size in ("1", "2") if size in line] for line in lines] == [["2"], ["1", "2"], ["1", "2"]]
    found = lines[-1]
    assert list(found["2"]) == ["naive_two_phase", "once"]  # naive_per_target only in small steps
    assert list(found["1"]) == ["naive_per_target", "naive_two_phase", "once"]
    targets = [found[size]["once"]["targets_per_step"] for size in ("1", "2")]
    assert targets[1] > targets[0]
    assert found["2"]["once"]["encoded_per_1000_clicks"] < found["1"]["once"]["encoded_per_1000_clicks"]
    assert (found["precision"], found["chunk_sizes"]) == ("float32", [128, 32])


def test_sizes_that_do_not_fit_are_rejected() -> None:
    with pytest.raises(ValueError, match="--batches-per-step must be 1 or more"):
        StepSizesConfig(step_batches=(1, 0))
    with pytest.raises(ValueError, match="4 packed steps, and 16 are taken"):
        StepSizesConfig(trajectories=4096)
    with pytest.raises(ValueError, match="leave nothing to measure"):
        StepSizesConfig(policies=("naive_per_target",), step_batches=(8, 16))
