"""A signal is acknowledged at once, even while the main thread is inside of one long call."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from tests.conftest import REPOSITORY

LONG = """
import hashlib
from jobs.cli.stopping import stop_requests
with stop_requests(lambda: "step 3 of 9"):
    print("begun", flush=True)
    hashlib.pbkdf2_hmac("sha256", b"a", b"b", 2**31 - 1)  # half an hour in which Python runs no handler
"""


@pytest.mark.parametrize("asked", [signal.SIGTERM, signal.SIGINT])
def test_what_is_waited_for_is_said_at_once_and_a_second_signal_ends_it(asked: signal.Signals) -> None:
    env = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    process = subprocess.Popen(
        [sys.executable, "-c", LONG], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        assert process.stdout.readline() == "begun\n"
        process.send_signal(asked)
        assert process.stderr.readline() == f"  {asked.name}: stopping after step 3 of 9; once more to stop at once\n"
        assert process.poll() is None
        process.send_signal(asked)
        assert process.wait(timeout=120) == 128 + asked
    finally:
        process.kill()
