"""One writer per stage and lake, whatever becomes of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.lake.locks import locked
from schemas.errors import InputError
from tests.conftest import REPOSITORY

HOLD = """
import sys, time
from pipelines.lake.locks import locked
with locked(sys.argv[1], "ingest"):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_run_learns_who_holds_the_stage_and_a_killed_one_holds_nothing(tmp_path: Path) -> None:
    other = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)],
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
    )
    try:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        message = rf"ingest of this lake is running already \(process {other.pid} on .*, since 20.*Run this again when"
        with pytest.raises(InputError, match=message), locked(str(tmp_path), "ingest"):
            pass
        with locked(str(tmp_path), "prepare_news"):  # another stage is free
            pass
    finally:
        other.send_signal(signal.SIGKILL)
        other.wait()
    with locked(str(tmp_path), "ingest"):
        pass


def test_a_stage_is_locked_against_its_own_process_too_and_free_after_an_error(tmp_path: Path) -> None:
    twice = (locked(str(tmp_path), "pack") for _ in range(2))
    with pytest.raises(InputError, match=rf"process {os.getpid()} "), next(twice), next(twice):
        pass
    with locked(str(tmp_path / "lake to be"), "pack"), locked(str(tmp_path), "pack"):
        pass


def test_a_lake_behind_a_url_is_held_by_a_lease(bucket: str) -> None:
    with (
        locked(f"{bucket}/lake", "ingest"),
        pytest.raises(InputError, match="ingest of this lake is running already"),
        locked(f"{bucket}/lake", "ingest"),
    ):
        pass
