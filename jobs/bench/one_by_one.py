"""Runs benchmarks one by one in child processes within a time limit, and writes each result to disk at once.

A benchmark may print an object of its figures so far at any time; it is on disk within seconds, as state "running".
DIR/device.json is valid JSON at every moment. DIR/device.log receives the output of the benchmarks as they print it.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Literal

RECORD, LOG = "device.json", "device.log"
ROOT = Path(__file__).resolve().parents[2]
_KEPT_BYTES = 1 << 20  # of the output of one benchmark
_MIN_SECONDS_LEFT = 5.0  # with fewer seconds left no benchmark is started
_LOOK_SECONDS = 2.0  # between two looks at what the running benchmark has printed

State = Literal["running", "done", "failed", "out of time", "not run"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Benchmark:
    """A process that prints its figures as one JSON object in a line of its own; the last such line counts."""

    name: str
    command: Sequence[str]
    """arguments of the Python interpreter"""
    limit_seconds: float = 240.0
    """it is stopped after this time"""


def run_one_by_one(
    benchmarks: Sequence[Benchmark], out: Path, *, seconds: float, about: dict[str, Any]
) -> dict[str, Any]:
    """Run the benchmarks in this order while time is left. Returns the record with `about`, also written to `out`."""
    ends = time.monotonic() + seconds
    record: dict[str, Any] = {**about, "complete": False, "results": []}
    results: dict[str, dict[str, Any]] = {}

    def write(result: dict[str, Any]) -> None:
        results[result["name"]] = result
        record["results"] = list(results.values())
        _write(out / RECORD, record)

    out.mkdir(parents=True, exist_ok=True)
    _write(out / RECORD, record)
    for benchmark in benchmarks:
        left = ends - time.monotonic()
        if left < _MIN_SECONDS_LEFT:
            write({"name": benchmark.name, "state": "not run", "error": "no time was left"})
        else:
            write(_run(benchmark, out / LOG, min(left, benchmark.limit_seconds), write))
        print(_result_line(results[benchmark.name]), flush=True)
    record["complete"] = True
    _write(out / RECORD, record)
    return record


def _run(benchmark: Benchmark, log: Path, limit: float, write: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """The result. While the benchmark runs, `write` is called with its figures so far, as it prints them."""
    command = [sys.executable, *benchmark.command]
    began = time.monotonic()
    with log.open("ab") as stream:
        stream.write(f"\n== {benchmark.name}: python {' '.join(benchmark.command)}\n".encode())
        stream.flush()
        start, written = stream.tell(), None

        def look() -> None:
            nonlocal written
            found = _last_object(_tail(log, start))
            if found != written:
                written = found
                write({"name": benchmark.name, "state": "running", "found": found, "command": list(benchmark.command)})

        code = _exit_code(command, stream.fileno(), limit, look)
    output = _read_output(log, start)
    found = _last_object(output)
    state: State = "out of time" if code is None else "done" if code == 0 and found is not None else "failed"
    result = {"name": benchmark.name, "state": state, "seconds": round(time.monotonic() - began, 1), "found": found}
    if state == "out of time":
        result["error"] = f"stopped after {limit:.0f} s; last output: {_last_lines(output)}"
    elif state == "failed":
        result["error"] = f"exit code {code}: {_last_lines(output)}"
    return {**result, "command": list(benchmark.command)}


def _exit_code(command: Sequence[str], output: int, limit: float, look: Callable[[], None]) -> int | None:
    """The exit code, or None if it was stopped at the limit. Processes that it started are killed too.

    Calls `look` every few seconds.
    """
    ends = time.monotonic() + limit
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(
        command, stdout=output, stderr=subprocess.STDOUT, cwd=ROOT, env=environment, start_new_session=True
    )
    try:
        while (left := ends - time.monotonic()) > 0:
            with suppress(subprocess.TimeoutExpired):
                return process.wait(timeout=min(left, _LOOK_SECONDS))
            look()
        return None
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _tail(log: Path, start: int) -> str:
    """The end of the log from `start` on, while the benchmark writes to it."""
    with log.open("rb") as stream:
        stream.seek(max(start, log.stat().st_size - _KEPT_BYTES))
        return stream.read().decode("utf-8", "replace")


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
