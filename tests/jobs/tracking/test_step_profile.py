"""A profile has exactly the chosen steps, as a table and as a trace file."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import torch

from jobs.tracking.step_profile import AFTER_STEPS, StepProfile


def work(times: int) -> None:
    for _ in range(times):
        torch.ones(200, 200) @ torch.ones(200, 200)


def test_the_steps_after_the_first_few_are_profiled_once(tmp_path: Path) -> None:
    profile = StepProfile(tmp_path, first=10, steps=2)
    found = []
    for done in range(11, 20):
        work(times=done)
        found.append(profile.after_step(done))
    assert [bool(each) for each in found] == [done == 10 + AFTER_STEPS + 2 for done in range(11, 20)]
    assert profile.end(19) is None
    profiled = next(each for each in found if each)
    assert profiled.steps == 2
    products = next(operator for operator in profiled.operators if operator.name == "aten::mm")
    assert products.calls == 14 + 15
    assert products.cpu_seconds > 0
    times = [operator.cpu_seconds for operator in profiled.operators]
    assert times == sorted(times, reverse=True) or torch.cuda.is_available()
    assert profiled.trace == tmp_path / "profile" / "steps-00000014-00000015.json.gz"
    events = json.loads(gzip.decompress(profiled.trace.read_bytes()))["traceEvents"]
    assert sum(event.get("name") == "aten::mm" for event in events) == products.calls


def test_a_run_that_ends_early_reports_the_steps_so_far(tmp_path: Path) -> None:
    profile = StepProfile(tmp_path, first=0, steps=5)
    for done in range(1, 5):
        work(times=1)
        assert profile.after_step(done) is None
    found = profile.end(4)
    assert found is not None
    assert found.steps == 1


def test_a_run_that_ends_before_the_first_profiled_step_reports_nothing(tmp_path: Path) -> None:
    profile = StepProfile(tmp_path, first=0, steps=5)
    profile.after_step(1)
    assert profile.end(1) is None
    assert not (tmp_path / "profile").exists()
