"""Benchmarks one by one: finished results are on disk at every moment, whatever the next benchmark does."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from jobs.bench.one_by_one import LOG, RECORD, Benchmark, run_one_by_one
from tests.conftest import REPOSITORY


def script(name: str, text: str, limit: float = 60.0) -> Benchmark:
    return Benchmark(name=name, command=["-c", text], limit_seconds=limit)


def by_name(record: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {result["name"]: result for result in record["results"]}


def test_a_failed_benchmark_is_recorded_with_its_error_and_the_next_one_runs(tmp_path: Path) -> None:
    seen = f"print(len(__import__('json').load(open({str(tmp_path / RECORD)!r}))['results'])); print('{{}}')"
    record = run_one_by_one(
        [
            script("good", 'print("words"); print(\'{"a": 1}\'); import sys; print("a warning", file=sys.stderr)'),
            script("bad", "raise ValueError('the card is gone')"),
            script("silent", "print('no object')"),
            script("endless", "print('so far', flush=True)\nwhile True: __import__('time').sleep(1)", 3.0),
            script("later", seen),
        ],
        tmp_path,
        seconds=300,
        about={"device": "x"},
    )
    found = by_name(record)
    assert [result["state"] for result in record["results"]] == ["done", "failed", "failed", "out of time", "done"]
    assert found["good"]["found"] == {"a": 1}
    assert "exit code 1" in found["bad"]["error"]
    assert "the card is gone" in found["bad"]["error"]
    assert "no object" in found["silent"]["error"]
    assert found["endless"]["error"] == "stopped after 3 s; last output: so far"
    assert (record["device"], record["complete"]) == ("x", True)
    assert json.loads((tmp_path / RECORD).read_text()) == record
    log = (tmp_path / LOG).read_text()
    assert "\n4\n{}" in log  # the record held four results when the fifth ran
    assert [line.split(":")[0] for line in log.splitlines() if line.startswith("== ")] == [
        f"== {name}" for name in ("good", "bad", "silent", "endless", "later")
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == [RECORD, LOG]


def test_a_benchmark_is_not_started_without_time_left(tmp_path: Path) -> None:
    record = run_one_by_one([script("late", "print('{}')")], tmp_path, seconds=1, about={})
    assert by_name(record)["late"] == {"name": "late", "state": "not run", "error": "no time was left"}
    assert not (tmp_path / LOG).exists()


def test_of_very_long_output_the_end_is_kept(tmp_path: Path) -> None:
    record = run_one_by_one([script("loud", "print('x' * 3_000_000); print('{}')")], tmp_path, seconds=60, about={})
    assert by_name(record)["loud"]["state"] == "done"
    assert (tmp_path / LOG).stat().st_size < 1_100_000


def test_figures_so_far_are_on_disk_while_a_benchmark_runs_and_stay_when_it_is_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.bench.one_by_one._LOOK_SECONDS", 0.2)
    file = str(tmp_path / RECORD)
    seen = (
        "import json, time\nprint('{\"a\": 1}', flush=True)\nends = time.monotonic() + 60\n"
        f"while not (found := json.load(open({file!r}))['results'][1:]) and time.monotonic() < ends: time.sleep(0.1)\n"
        "print(json.dumps({'a': 1, 'seen': found}), flush=True)\ntime.sleep(600)"
    )
    record = run_one_by_one([script("good", "print('{}')"), script("cut", seen, 6.0)], tmp_path, seconds=300, about={})
    cut = by_name(record)["cut"]
    (running,) = cut["found"]["seen"]
    assert (running["name"], running["state"], running["found"]) == ("cut", "running", {"a": 1})
    assert (cut["state"], cut["found"]["a"], len(record["results"])) == ("out of time", 1, 2)


def test_sigterm_keeps_the_results_and_leaves_no_process(tmp_path: Path) -> None:
    wait = (
        "print('{\"b\": 2}', flush=True)\n"
        f"open({str(tmp_path / 'pid')!r}, 'w').write(str(__import__('os').getpid()))\n__import__('time').sleep(600)"
    )
    program = (
        "from pathlib import Path\n"
        "from jobs.bench.one_by_one import Benchmark, run_one_by_one, stop_on_sigterm\nstop_on_sigterm()\n"
        "run_one_by_one([Benchmark(name='good', command=['-c', 'print(\\'{\"a\": 1}\\')']), "
        f"Benchmark(name='long', command=['-c', {wait!r}])], Path({str(tmp_path / 'out')!r}), seconds=600, about={{}})"
    )
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    process = subprocess.Popen([sys.executable, "-c", program], env=environment)
    record_file = tmp_path / "out" / RECORD
    while process.poll() is None and not (record_file.exists() and '"b": 2' in record_file.read_text()):
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=300) == 143
    record = json.loads(record_file.read_text())
    states = {result["name"]: result["state"] for result in record["results"]}
    assert (record["complete"], states) == (False, {"good": "done", "long": "running"})
    assert not Path("/proc", (tmp_path / "pid").read_text()).exists()
