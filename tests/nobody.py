"""Commands run as a user of any uid: no name, no home, and no right to write where the clone is."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

UID = 54321


def as_nobody(
    folder: Path, command: Sequence[object], environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """`command` in `folder`, which is given to that user; a test that may not change its user skips and says so."""
    if os.getuid() != 0 or not shutil.which("setpriv"):
        pytest.skip("only root can become another user, and by setpriv")
    for path in (folder, *folder.rglob("*")):
        os.chown(path, UID, UID)
    # It may read all: the interpreter of a test's environment can lie in a home of another.
    become = ["setpriv", f"--reuid={UID}", f"--regid={UID}", "--clear-groups"]
    become += ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]
    own = {"HOME", "USER", "LOGNAME", "TMPDIR", "SPARK_LOCAL_DIRS"}  # the last: of this run's session, closed to others
    left = {name: value for name, value in os.environ.items() if name not in own}
    env = {**left, "TMPDIR": str(folder), **(environment or {})}
    return subprocess.run(
        [*become, *map(str, command)], cwd=folder, env=env, capture_output=True, text=True, check=False
    )
