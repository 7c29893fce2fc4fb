"""Packing in the embedded engine killed by SIGKILL: complete or absent, and whoever packs next sweeps up."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path
from typing import NamedTuple

import pytest

from pipelines.packing.config import PackingConfig
from tests.pipelines.packing.drawn import contents, draw, finish, start

MOMENTS = [pytest.param(at, marks=() if at < 3 else pytest.mark.slow) for at in range(20)]
PACKED = {"packed": PackingConfig(source="p", batch_trajectories=4, batch_items=30, shard_trajectories=60)}


class Whole(NamedTuple):
    """What is packed, and a run that nobody killed: from when on it wrote, how long it took, what it made."""

    tables: Path
    begins: float
    seconds: float
    made: dict[str, bytes]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    folder = tmp_path_factory.mktemp("whole")
    tables = draw(folder / "tables", users=1000)
    finish(start("embedded", tables, folder / "first", PACKED))  # compiles
    began = time.monotonic()
    running = start("embedded", tables, folder, PACKED)
    while running.poll() is None and not list(folder.glob(".packed.*")):
        time.sleep(0.02)
    begins = time.monotonic() - began
    finish(running)
    return Whole(tables, begins, time.monotonic() - began, contents(folder / "packed"))


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_killed_run_leaves_all_or_nothing_and_the_next_makes_what_one_run_makes(
    whole: Whole, tmp_path: Path, moment: int
) -> None:
    out = tmp_path / "packed"
    running = start("embedded", whole.tables, tmp_path, PACKED)
    time.sleep(random.Random(moment).uniform(0.9 * whole.begins, whole.seconds))
    os.killpg(running.pid, signal.SIGKILL)
    running.communicate()
    if out.exists():
        assert contents(out) == whole.made
        out.rename(tmp_path.with_name(f"{tmp_path.name}-before"))
    finish(start("embedded", whole.tables, tmp_path, PACKED))
    assert contents(out) == whole.made
    assert list(tmp_path.iterdir()) == [out]
