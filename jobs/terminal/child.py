"""Run a job in a process of its own and take its summary; what it tells on stderr goes straight to the user."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from jobs.terminal.progress import console


def run_child(module: str, options: Sequence[object]) -> dict[str, Any]:
    """The summary of `python -m module options`. SystemExit with the child's code where it failed."""
    command = [sys.executable, "-m", module, *map(str, options)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        console.print(f"{module} failed; its message stands above", style="red")
        raise SystemExit(done.returncode)
    return dict(json.loads(done.stdout.splitlines()[-1]))
