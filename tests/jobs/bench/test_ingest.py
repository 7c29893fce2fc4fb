from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from jobs.bench.children import Measured
from jobs.bench.ingest import _check, _compare_with, _growth, _short, ingest
from schemas.errors import ContractError, InputError
from tests.conftest import REPOSITORY, SHARED


def run(seconds: float, lines: int = 0, **summary: Any) -> Measured:
    return Measured(seconds=seconds, every=[seconds], summary={"lines": lines, **summary})


def test_costs_are_seconds_per_million_lines_and_their_ratios() -> None:
    runs = {"100k": run(4.0, 100_000), "1m": run(20.0, 1_000_000), "5m": run(110.0, 5_000_000)}
    found = _growth(runs, {"100k": run(8.0), "5m": run(10.0)}, 100_000)
    assert found["seconds_per_million"] == {"100k": 40.0, "1m": 20.0, "5m": 22.0}
    assert found["large_to_middle"] == 1.1
    assert found["adding_to_large_to_small"] == 1.25


def test_speeds_are_compared() -> None:
    found = _compare_with(run(50.0, 1_000_000), run(40.0))
    assert found["lines_per_second"] == {"ingest": 20_000, "duckdb": 25_000}
    assert found["speed_to_duckdb"] == 0.8


def test_speeds_with_wrong_results_are_rejected() -> None:
    truth = {"lines": 9, "impressions": 5, "merged": 3, "rejected": 1, "rejected_by_reason": {"duplicate_field": 1}}
    _check(truth, {"impressions": 5}, truth)
    _check(truth, {"impressions": 6}, truth)  # DuckDB accepts a repeated field
    with pytest.raises(ContractError, match="ingest finds 6 impressions, the publisher's truth is 5"):
        _check(truth | {"impressions": 6, "merged": 2}, {"impressions": 5}, truth)
    with pytest.raises(ContractError, match="DuckDB finds 4"):
        _check(truth, {"impressions": 4}, truth)


def test_numbers_are_abbreviated() -> None:
    assert [_short(lines) for lines in (5_000_000, 100_000, 400, 1_200)] == ["5m", "100k", "400", "1200"]


def test_too_few_lines_are_rejected() -> None:
    with pytest.raises(InputError, match="--lines is 100"):
        ingest(lines=100)


@pytest.mark.slow
def test_the_complete_benchmark_runs_on_small_data_and_prints_one_json_object_last(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "jobs.bench.ingest", "--work", tmp_path, "--lines", "10000", "--repeats", "1"]
    ebnerd = SHARED / "data/ebnerd_demo"
    options = ["--ebnerd", ebnerd] if ebnerd.is_dir() else []
    done = subprocess.run([*map(str, command + options)], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert list(found["lines_per_second_vs_duckdb"]) == list(found["engines"]) == ["embedded", "spark"]
    assert list(found["engines"]["spark"]["seconds_per_million"]) == ["200", "2k", "10k"]
    assert found["lines"] == found["impressions"] + found["merged"] + found["rejected"]
    assert found["history_ratio"] > 1
