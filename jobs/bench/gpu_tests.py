"""Benchmark: runs the tests marked `gpu`, except files that import Spark, if pytest is installed."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
_MARK = re.compile(r"^\s*@pytest\.mark\.gpu\b|\bpytestmark\b.*\bgpu\b", re.MULTILINE)
_SPARK = re.compile(r"^\s*(from|import) (pyspark|delta|petastorm|pipelines\.session|pipelines\.tables)\b", re.MULTILINE)
_COUNT = re.compile(r"(\d+) (passed|failed|skipped|errors?|deselected)")


def gpu_tests() -> dict[str, Any]:
    """Run the tests; return the counts by outcome, the files, and the number of files left out."""
    if find_spec("pytest") is None:
        return {"skipped": "pytest is not installed"}
    marked = [path for path in sorted((ROOT / "tests").rglob("*.py")) if _MARK.search(path.read_text("utf-8"))]
    files = [str(path.relative_to(ROOT)) for path in marked if not _SPARK.search(path.read_text("utf-8"))]
    if not files:
        return {"skipped": "no test is marked gpu"}
    # Without conftest.py: it imports development libraries, and these tests use nothing of it.
    options = ["-m", "gpu", "--noconftest", "-p", "no:cacheprovider", "-q"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, *files], cwd=ROOT, capture_output=True, text=True, check=False
    )
    print(done.stdout, done.stderr, flush=True)
    counts = {word.rstrip("s"): int(count) for count, word in _COUNT.findall(done.stdout.splitlines()[-1])}
    return {"exit_code": done.returncode, "counts": counts, "files": files, "left_out": len(marked) - len(files)}


if __name__ == "__main__":
    found = gpu_tests()
    print(json.dumps(found))
    raise SystemExit(found.get("exit_code", 0))
