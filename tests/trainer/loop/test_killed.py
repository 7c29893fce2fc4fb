"""A run that is killed at any moment, also while a thread writes a checkpoint, resumes to the bit."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

# One process with torch loaded forks a child for each run: twenty kills in the time of a few starts of the job.
KILLED_ANYWHERE = """
import os, random, signal, sys, time
from pathlib import Path
import torch
from tests.packed import packed_directory
from tests.trainer.loop.test_saving import contents, with_policy
from tests.trainer.loop.test_session import logged_losses, train_session

torch.set_num_threads(1)
folder, policy, writing_met = Path(sys.argv[1]), sys.argv[2], 0
data = packed_directory(folder / "packed", trajectories=48)
chosen = with_policy(folder, policy, save_every_steps=2, log_every_steps=1, epochs=2)

def run(out):
    child = os.fork()
    if not child:
        try:
            train_session(chosen, data, out)
        finally:
            os._exit(sys.exc_info()[0] is not None)
    return child

def logged(out):
    file = out / "metrics.jsonl"
    return file.read_bytes().count(b"\\n") if file.exists() else 0

def writes(out):
    return any((out / "checkpoint").glob(".step-*.incomplete"))

assert os.waitpid(run(folder / "unbroken"), 0)[1] == 0
expected = contents(folder / "unbroken"), logged_losses(folder / "unbroken")
for seed in range(20):
    out, step = folder / f"run-{seed}", random.Random(seed).randrange(1, 11)
    child = run(out)
    until = time.monotonic() + 120
    while logged(out) < step or (seed % 2 and not writes(out)):  # every other kill comes during a write
        assert time.monotonic() < until
    os.kill(child, signal.SIGKILL)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    writing_met += writes(out)
    assert os.waitpid(run(out), 0)[1] == 0
    assert (contents(out), logged_losses(out)) == expected, (seed, step)
print(writing_met)
"""


@pytest.mark.slow
@pytest.mark.parametrize("policy", ["cached", "carried", "accumulated"])
def test_killed_at_twenty_random_steps_it_resumes_to_the_bit(tmp_path: Path, policy: str) -> None:
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", KILLED_ANYWHERE, str(tmp_path), policy]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= 5
