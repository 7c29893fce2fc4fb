"""Runs a job in a process of its own and returns its summary; its stderr goes straight to the user."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jobs.cli.progress import console
from schemas.strict_json import decoded


def run_child(module: str, options: Sequence[object]) -> dict[str, Any]:
    """The summary of `python -m module options`. SystemExit with the child's code where it failed."""
    root = str(Path(__file__).parents[2])
    path = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
    command = [sys.executable, "-P", "-m", module, *map(str, options)]  # -P: the user's folders are not our packages
    environment = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False, env=environment)
    if done.returncode != 0:
        console.print(f"{module} failed; its message is above", style="red")
        raise SystemExit(done.returncode)
    last = done.stdout.rstrip().rpartition("\n")[2]
    return decoded(last, dict[str, Any], f"the summary of {module}", advice="Run it alone and look at what it prints")
