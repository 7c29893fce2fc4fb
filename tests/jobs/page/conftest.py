"""Fixtures: one run's folder and its facts, for tests that only read them."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobs.page.facts import Facts
from tests.jobs.page.runs import facts_of, run_folder


@pytest.fixture(scope="package")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with all inputs of the page."""
    return run_folder(tmp_path_factory.mktemp("page"))


@pytest.fixture(scope="package")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Facts:
    """Facts of a training run that was killed before its first line of metrics, without other inputs."""
    folder = tmp_path_factory.mktemp("bare")
    run = run_folder(folder, without=("summary.json", "about.json", "evaluation.json", "examples.json"))
    (run / "metrics.jsonl").write_text("")
    return facts_of(run)


@pytest.fixture(scope="package")
def facts(run: Path) -> Facts:
    """The facts of that run."""
    return facts_of(run)
