"""Benchmark: runs the tests marked `gpu` if pytest is installed, except files that need Spark or a missing library."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
_MARK = re.compile(r"^\s*@pytest\.mark\.gpu\b|\bpytestmark\b.*\bgpu\b", re.MULTILINE)
_SPARK = re.compile(r"^\s*(from|import) (pyspark|delta|petastorm|pipelines\.session|pipelines\.tables)\b", re.MULTILINE)
_COUNT = re.compile(r"(\d+) (passed|failed|skipped|errors?|deselected)")


def gpu_tests() -> dict[str, Any]:
    """Run the tests; return the counts by outcome, the files, and those left out with the reason."""
    if find_spec("pytest") is None:
        return {"skipped": "pytest is not installed"}
    marked = [path for path in sorted((ROOT / "tests").rglob("*.py")) if _MARK.search(path.read_text("utf-8"))]
    reasons = {str(path.relative_to(ROOT)): _left_out(path) for path in marked}
    files = [file for file, reason in reasons.items() if reason is None]
    if not files:
        return {"skipped": "no test is marked gpu"}
    # Without conftest.py: it imports development libraries, and these tests use nothing of it.
    options = ["-m", "gpu", "--noconftest", "-p", "no:cacheprovider", "-q"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, *files], cwd=ROOT, capture_output=True, text=True, check=False
    )
    print(done.stdout, done.stderr, flush=True)
    left_out = {file: reason for file, reason in reasons.items() if reason is not None}
    counts = {word.rstrip("s"): int(count) for count, word in _COUNT.findall(done.stdout.splitlines()[-1])}
    return {"exit_code": done.returncode, "counts": counts, "files": files, "left_out": left_out}


def _left_out(path: Path) -> str | None:
    if _SPARK.search(path.read_text("utf-8")):
        return "imports Spark"
    try:
        import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))
    except ImportError as error:
        return f"{type(error).__name__}: {error}"
    return None


if __name__ == "__main__":
    found = gpu_tests()
    print(json.dumps(found))
    raise SystemExit(found.get("exit_code", 0))
