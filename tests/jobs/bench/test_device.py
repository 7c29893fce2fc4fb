"""bench device runs all GPU benchmarks with one command, with few packages installed."""

from __future__ import annotations

import json
import runpy
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from jobs.bench import plain_options
from jobs.bench.device import DeviceConfig, benchmarks
from jobs.bench.one_by_one import RECORD
from tests.jobs.bench.bare import bench


def recorded(folder: Path, *options: str) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Run bench device; return its record and the results by name. The last printed line equals the record."""
    done = bench(folder, "device", "--out", str(folder / "out"), "--size", "tiny", *options)
    assert done.returncode == 0, done.stderr
    record = json.loads((folder / "out" / RECORD).read_text())
    assert json.loads(done.stdout.splitlines()[-1]) == record
    return record, {result["name"]: result for result in record["results"]}


def test_records_machine_versions_and_each_result_without_spark_petastorm_and_command_line_libraries(
    tmp_path: Path,
) -> None:
    record, found = recorded(tmp_path, "--only", "encoder_base", "tests")
    assert [result["state"] for result in found.values()] == ["done", "done"], found
    assert found["encoder_base"]["found"]["full"]["useful_mfu"] > 0
    tests = found["tests"]["found"]
    assert tests["counts"]["skipped"] >= 1  # no GPU on the CPU
    assert "tests/trainer/cost/test_encoder_speed.py" in tests["files"]
    left_out = set(tests["left_out"].values())
    assert left_out <= {"imports Spark", "ImportError: not on this machine"}  # of tests.jobs.bench.bare
    assert {"torch", "transformers", "triton", "numpy", "python"} <= set(record["versions"])
    assert record["machine"]["cores"] >= 1
    assert (record["device"], record["complete"]) == ("cpu", True)


@pytest.mark.slow
def test_all_benchmarks_run_on_a_cpu(tmp_path: Path) -> None:
    _, found = recorded(tmp_path, "--minutes", "30")
    assert list(found) == [each.name for each in benchmarks("tiny", "cpu")]
    assert {result["state"] for result in found.values()} == {"done"}, found
    for runs in ("repeats_itself", "goes_on"):
        assert found["resumed"]["found"][runs] == {"losses_equal": True, "steps": 12, "differ": []}
    assert found["resumed"]["found"]["gone_on_from_step"] in (3, 6, 9)
    kept = found["steps_base"]["found"]["1"]
    for policy in ("naive", "once"):  # their steps have several chunks
        assert found["memory_base"]["found"][policy]["peak_bytes"] < kept[policy]["peak_bytes"], policy
    assert found["launches_base"]["found"]["once_large"]["reads_per_step"] == 0


@pytest.mark.parametrize("size", ["full", "tiny"])
def test_each_benchmark_is_a_module_that_takes_its_options(size: str, monkeypatch: pytest.MonkeyPatch) -> None:
    parse = plain_options.run_plain
    took: list[dict[str, Any]] = []

    def only_parse(name: str, doc: str | None, config: Callable[..., Any], _bench: object) -> int:
        return parse(name, doc, config, lambda given, _device: took.append(asdict(given)) or {})  # type: ignore[func-returns-value]

    monkeypatch.setattr(plain_options, "run_plain", only_parse)
    for each in benchmarks(size, "cpu"):
        monkeypatch.setattr("sys.argv", list(each.command[1:]))
        monkeypatch.delitem(sys.modules, each.command[1], raising=False)
        if each.name != "tests":
            with pytest.raises(SystemExit, match=r"^0$"):
                runpy.run_module(each.command[1], run_name="__main__")
            assert took, each.name
            took.clear()


def test_the_benchmarks_of_most_worth_fit_into_the_time_limit_even_if_each_takes_all_of_its_own() -> None:
    found = {each.name: each.limit_seconds for each in benchmarks("full", "cpu")}
    first = ["encoder_base", "steps_base", "launches_base", "encoder_base_compiled"]
    assert list(found)[:4] == first
    assert sum(found[name] for name in first) <= 60 * DeviceConfig(out="x").minutes


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "--out is missing"),
        ({"out": "x", "size": "huge"}, "use full, tiny"),
        ({"out": "x", "minutes": 0.0}, "more than 0"),
        ({"out": "x", "only": ("nothing",)}, r"--only names \['nothing'\]: use encoder_base"),
    ],
)
def test_invalid_options_are_rejected(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        DeviceConfig(**options)


def test_an_earlier_record_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / RECORD).write_text("{}")
    with pytest.raises(ValueError, match="holds a record: name another folder"):
        DeviceConfig(out=str(tmp_path))
