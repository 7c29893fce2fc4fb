"""bench start measures starts of one process and of two, and the loader, without Spark and command line libraries."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from jobs.bench.plain_options import run_plain, words_of
from jobs.bench.start import PARTS, StartConfig
from tests.jobs.bench.bare import bench


def test_every_size_is_started_alone_and_on_two_ranks(tmp_path: Path) -> None:
    small = (
        "--size",
        "tiny",
        "--trajectories",
        "40",
        "160",
        "--items",
        "128",
        "--live-items",
        "100",
        "--batch-trajectories",
        "4",
    )
    done = bench(tmp_path, "start", *small, "--rounds", "1", "--loader-ranks", "1", "2", "--loader-steps", "3")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert list(found["start"]) == ["1 rank", "2 ranks"]
    for starts in found["start"].values():
        assert list(starts["sizes"]) == ["40", "160"]
        assert starts["largest_to_smallest"] > 0 < starts["largest_to_smallest_processor"]
        for figures in starts["sizes"].values():
            assert all(0 < figures[name] <= figures["seconds"] for name in PARTS)
            assert figures["processor_seconds"] > 0
    assert {name: each["milliseconds"] > 0 for name, each in found["loader"].items()} == {
        "1 rank": True,
        "2 ranks": True,
    }


def test_options_that_measure_nothing_are_rejected() -> None:
    with pytest.raises(ValueError, match="--verify is 'most': use sizes, sample, full"):
        StartConfig(verify="most")
    with pytest.raises(ValueError, match="use 1 or more"):
        StartConfig(ranks=(0, 1))


def test_a_config_comes_back_from_its_words(monkeypatch: pytest.MonkeyPatch) -> None:
    config = StartConfig(trajectories=(5, 6, 7), compiled=True, folder="some folder", attention_dropout=0.5)
    seen = []
    for given in (config, replace(config, compiled=False)):
        monkeypatch.setattr("sys.argv", ["start", *words_of(given, "cpu")])
        assert run_plain("start", "", StartConfig, lambda found, device: seen.append((found, device)) or {}) == 0
    assert seen == [(config, "cpu"), (replace(config, compiled=False), "cpu")]
