"""Runs benchmarks one by one in child processes within a time limit, and writes each result to disk at once.

DIR/device.json is valid JSON at every moment. DIR/device.log receives the output of the benchmarks as they print it.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Literal

RECORD, LOG = "device.json", "device.log"
ROOT = Path(__file__).resolve().parents[2]
_KEPT_BYTES = 1 << 20  # of the output of one benchmark
_MIN_SECONDS_LEFT = 5.0  # with fewer seconds left no benchmark is started

State = Literal["done", "failed", "out of time", "not run"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Benchmark:
    """A process that prints one JSON object as its last line."""

    name: str
    command: Sequence[str]
    """arguments of the Python interpreter"""
    limit_seconds: float = 240.0
    """it is stopped after this time"""


def run_one_by_one(
    benchmarks: Sequence[Benchmark], out: Path, *, seconds: float, about: dict[str, Any]
) -> dict[str, Any]:
    """Run the benchmarks in this order while time is left. Returns the record with `about`, also written to `out`."""
    ends, results = time.monotonic() + seconds, []  # type: float, list[dict[str, Any]]
    out.mkdir(parents=True, exist_ok=True)
    record = {**about, "complete": False, "results": results}
    _write(out / RECORD, record)
    for benchmark in benchmarks:
        left = ends - time.monotonic()
        if left < _MIN_SECONDS_LEFT:
            results.append({"name": benchmark.name, "state": "not run", "error": "no time was left"})
        else:
            results.append(_run(benchmark, out / LOG, min(left, benchmark.limit_seconds)))
        print(_result_line(results[-1]), flush=True)
        _write(out / RECORD, record)
    record["complete"] = True
    _write(out / RECORD, record)
    return record


def _run(benchmark: Benchmark, log: Path, limit: float) -> dict[str, Any]:
    command = [sys.executable, *benchmark.command]
    began = time.monotonic()
    with log.open("ab") as stream:
        stream.write(f"\n== {benchmark.name}: python {' '.join(benchmark.command)}\n".encode())
        stream.flush()
        start = stream.tell()
        code = _exit_code(command, stream.fileno(), limit)
    output = _read_output(log, start)
    found = _last_object(output)
    state: State = "out of time" if code is None else "done" if code == 0 and found is not None else "failed"
    result = {"name": benchmark.name, "state": state, "seconds": round(time.monotonic() - began, 1), "found": found}
    if state == "out of time":
        result["error"] = f"stopped after {limit:.0f} s; last output: {_last_lines(output)}"
    elif state == "failed":
        result["error"] = f"exit code {code}: {_last_lines(output)}"
    return {**result, "command": list(benchmark.command)}


def _exit_code(command: Sequence[str], output: int, limit: float) -> int | None:
    """The exit code, or None if it was stopped at the limit. Processes that it started are killed too."""
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(
        command, stdout=output, stderr=subprocess.STDOUT, cwd=ROOT, env=environment, start_new_session=True
    )
    try:
        return process.wait(timeout=limit)
    except subprocess.TimeoutExpired:
        return None
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _read_output(log: Path, start: int) -> str:
    """The log from `start` on. If that is longer than the limit, the log keeps only its end."""
    with log.open("r+b") as stream:
        stream.seek(start)
        output = stream.read()
        if len(output) > _KEPT_BYTES:
            output = b"[the beginning is left out]\n" + output[-_KEPT_BYTES:]
            stream.seek(start)
            stream.write(output)
            stream.truncate()
    return output.decode("utf-8", "replace")


def _last_object(output: str) -> dict[str, Any] | None:
    """The last line that is a JSON object; warnings may follow it. None without one."""
    for line in reversed(output.splitlines()):
        if line.startswith("{"):
            try:
                found = json.loads(line)
            except ValueError:
                continue
            return dict(found)
    return None


def _last_lines(output: str) -> str:
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    return " | ".join(lines[-3:])[-600:]


def _result_line(result: dict[str, Any]) -> str:
    spent = f" in {result['seconds']} s" if "seconds" in result else ""
    return f"{result['name']}: {result['state']}{spent}" + (f" ({result['error']})" if "error" in result else "")


def _write(path: Path, record: dict[str, Any]) -> None:
    """Replace the file atomically."""
    unfinished = path.with_name(f".{path.name}.new")
    unfinished.write_text(json.dumps(record, indent=1) + "\n", "utf-8")
    unfinished.replace(path)


def stop_on_sigterm() -> None:
    """Make SIGTERM end this process cleanly, together with the running benchmark."""

    def end(_number: int, _frame: FrameType | None) -> None:
        raise SystemExit(143)

    signal.signal(signal.SIGTERM, end)
