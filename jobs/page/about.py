"""Writes and reads about.json: machine and versions of a run, for a page that is written later or elsewhere."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import tomllib
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from jobs.page.contracts import About
from jobs.page.reading import json_file, name_exists

ABOUT_FILE = "about.json"
LIBRARIES = (
    "torch", "triton", "transformers", "safetensors", "numpy", "pyarrow", "petastorm", "pyspark", "delta-spark",
    "deltalake", "plotly",
)  # fmt: skip
ROOT = Path(__file__).resolve().parents[2]


def write_about(run: Path, facts: Mapping[str, Any]) -> None:
    """Write `run`/about.json: `facts` (data, device, precision, defaults, stages), machine and versions."""
    (run / ABOUT_FILE).write_text(json.dumps({**facts, **this_machine()}, indent=1) + "\n")


def read_about(run: Path) -> dict[str, Any]:
    """The content of about.json; empty if the run was killed or an older feedloop made it."""
    return json_file(run / ABOUT_FILE, About) if name_exists(run / ABOUT_FILE) else {}


def this_machine() -> dict[str, Any]:
    """Versions, cores and memory of this process, and the time now."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "ended_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": {"feedloop": _own_version(), "python": platform.python_version(), **_libraries()},
        "commit": _commit(),
        "machine": {
            "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
            "memory_gib": round(memory / 2**30, 1),
            "architecture": platform.machine(),
            "system": f"{platform.system()} {platform.release()}",
        },
    }


def _libraries() -> dict[str, str]:
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # a trainer has no Spark
            continue
    return found


def _own_version() -> str:
    project = ROOT / "pyproject.toml"
    return (
        str(tomllib.loads(project.read_text("utf-8"))["project"]["version"])
        if project.is_file()
        else version("feedloop")
    )


def _commit() -> str | None:
    """The git commit of this code, marked if files differ from it; None if this is no clone."""
    git = ["git", "-C", str(ROOT)]
    try:
        commit = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
        changed = subprocess.run([*git, "status", "--porcelain"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
    return f"{commit} with changes" if changed.strip() else commit
