"""Spark's processes killed in the middle of a job: one message, exit code 2, and none of them is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

MARK = "FEEDLOOP_TEST_MARK"
JOB = """
import sys, time
from jobs.cli.command_line import run
from pipelines.engine.local_spark import build_session
from pipelines.session import plain_errors

def busy(parts):
    for part in parts:
        open("busy", "w").close()
        time.sleep(600)
        yield part

def job():
    with plain_errors():
        build_session("killed").range(4).mapInPandas(busy, "id long").collect()

sys.exit(run(job, []))
"""


def marked(mark: str) -> dict[int, str]:
    """Process id -> command line of all that carry the mark, but for those that have ended."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if f"{MARK}={mark}".encode() in (folder / "environ").read_bytes().split(b"\0"):
                found[int(folder.name)] = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:  # it has ended meanwhile, or belongs to somebody else
            continue
    return {number: command for number, command in found.items() if command}


def until(happened: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + 240
    while not happened():
        assert time.monotonic() < end, what
        time.sleep(0.1)


def parent(number: int) -> int:
    return int(Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[1])


def victim(kind: str, processes: dict[int, str]) -> int:
    daemons = [number for number, command in processes.items() if "pyspark.daemon" in command]
    of = {
        "java": [number for number, command in processes.items() if "SparkSubmit" in command and "java" in command],
        "worker": [number for number in daemons if parent(number) in daemons],
        "job": [number for number, command in processes.items() if JOB[:20] in command],
    }
    return of[kind][0]


@pytest.mark.parametrize(
    ("kind", "code", "message"),
    [
        ("java", 2, "feedloop job: Spark's Java process ended by SIGKILL while it"),
        pytest.param("worker", 2, "feedloop job: a Python worker of Spark ended while it", marks=pytest.mark.slow),
        pytest.param("job", -signal.SIGKILL, "", marks=pytest.mark.slow),
    ],
)  # fmt: skip
def test_whichever_is_killed_one_message_is_left_and_no_process(
    tmp_path: Path, kind: str, code: int, message: str
) -> None:
    mark = uuid.uuid4().hex
    env = {**os.environ, "PYTHONPATH": str(REPOSITORY), "FEEDLOOP_DRIVER_MEMORY": "700m", MARK: mark}
    process = subprocess.Popen(
        [sys.executable, "-c", JOB], cwd=tmp_path, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    until(lambda: (tmp_path / "busy").exists() or process.poll() is not None, "no worker began")
    os.kill(victim(kind, marked(mark)), signal.SIGKILL)
    printed, errors = process.communicate(timeout=240)
    assert (process.returncode, printed) == (code, "")
    assert errors.startswith(message)
    assert errors.count("\n") == (1 if message else 0), errors
    until(lambda: not marked(mark), f"left behind: {marked(mark)}")
