"""One by one: benchmarks in processes of their own within a time, each result on disk as soon as it is there.

DIR/device.json is complete at every moment, and DIR/device.log holds what the benchmarks print, as they print it.
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
_KEPT_BYTES = 1 << 20  # of what one benchmark prints
_TOO_LATE = 5.0  # seconds left in which nothing is begun any more

State = Literal["done", "failed", "out of time", "not run"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Benchmark:
    """A process whose last line is one JSON object."""

    name: str
    command: Sequence[str]
    """after the interpreter"""
    limit_seconds: float = 240.0
    """after which it is stopped"""


def run_one_by_one(
    benchmarks: Sequence[Benchmark], out: Path, *, seconds: float, about: dict[str, Any]
) -> dict[str, Any]:
    """Run them in this order while there is time; returns the record, which is written to `out` with `about`."""
    ends, results = time.monotonic() + seconds, []  # type: float, list[dict[str, Any]]
    out.mkdir(parents=True, exist_ok=True)
    record = {**about, "complete": False, "results": results}
    _write(out / RECORD, record)
    for benchmark in benchmarks:
        left = ends - time.monotonic()
        if left < _TOO_LATE:
            results.append({"name": benchmark.name, "state": "not run", "error": "no time was left"})
        else:
            results.append(_run(benchmark, out / LOG, min(left, benchmark.limit_seconds)))
        print(_line(results[-1]), flush=True)
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
    said = _shortened(log, start)
    found = _last_object(said)
    state: State = "out of time" if code is None else "done" if code == 0 and found is not None else "failed"
    result = {"name": benchmark.name, "state": state, "seconds": round(time.monotonic() - began, 1), "found": found}
    if state == "out of time":
        result["error"] = f"stopped after {limit:.0f} s; it had said: {_end_of(said)}"
    elif state == "failed":
        result["error"] = f"exit code {code}: {_end_of(said)}"
    return {**result, "command": list(benchmark.command)}


def _exit_code(command: Sequence[str], output: int, limit: float) -> int | None:
    """None where it had to be stopped. It and what it started end with this."""
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


def _shortened(log: Path, start: int) -> str:
    """What stands in the log from `start` on; of very much, only the end is kept there."""
    with log.open("r+b") as stream:
        stream.seek(start)
        said = stream.read()
        if len(said) > _KEPT_BYTES:
            said = b"[the beginning is left out]\n" + said[-_KEPT_BYTES:]
            stream.seek(start)
            stream.write(said)
            stream.truncate()
    return said.decode("utf-8", "replace")


def _last_object(said: str) -> dict[str, Any] | None:
    """The last line that is one JSON object: warnings may come after it."""
    for line in reversed(said.splitlines()):
        if line.startswith("{"):
            try:
                found = json.loads(line)
            except ValueError:
                continue
            return dict(found)
    return None


def _end_of(said: str) -> str:
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return " | ".join(lines[-3:])[-600:]


def _line(result: dict[str, Any]) -> str:
    spent = f" in {result['seconds']} s" if "seconds" in result else ""
    return f"{result['name']}: {result['state']}{spent}" + (f" ({result['error']})" if "error" in result else "")


def _write(path: Path, record: dict[str, Any]) -> None:
    """Write the file complete or leave it as before."""
    unfinished = path.with_name(f".{path.name}.new")
    unfinished.write_text(json.dumps(record, indent=1) + "\n", "utf-8")
    unfinished.replace(path)


def stop_on_sigterm() -> None:
    """From now on SIGTERM ends this process in order, and with it the benchmark that runs."""

    def end(_number: int, _frame: FrameType | None) -> None:
        raise SystemExit(143)

    signal.signal(signal.SIGTERM, end)
