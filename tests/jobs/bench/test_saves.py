"""bench saves times saves of a real trainer, with few packages installed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from jobs.bench.saves import SavesConfig
from tests.jobs.bench.bare import bench


def test_reports_what_a_save_costs_the_run_and_how_much_it_writes(tmp_path: Path) -> None:
    options = ["--size", "tiny", "--items", "256", "--batch-trajectories", "2", "--steps", "3", "--repeats", "1"]
    done = bench(tmp_path, "saves", *options)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert 0 < found["blocked_seconds"] < found["complete_seconds"]
    assert found["in_the_loop_seconds"] > 0
    assert found["bytes"]["table-0.safetensors"] > 0
    assert (found["device"], found["config"]["policy"]) == ("cpu", "cached")


@pytest.mark.parametrize(
    ("options", "words"), [({"policy": "twice"}, "--policy is 'twice'"), ({"steps": 0}, "--steps is 0")]
)
def test_invalid_options_are_rejected(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        SavesConfig(**options)
