"""One run's folder for all tests that only read it."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobs.page.facts import Facts
from tests.jobs.page.runs import facts_of, run_folder


@pytest.fixture(scope="package")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with everything a page can tell."""
    return run_folder(tmp_path_factory.mktemp("page"))


@pytest.fixture(scope="package")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Facts:
    """What is known of a training run that was killed before it wrote a line, and of nothing else."""
    folder = tmp_path_factory.mktemp("bare")
    run = run_folder(folder, without=("summary.json", "about.json", "evaluation.json", "examples.json"))
    (run / "metrics.jsonl").write_text("")
    return facts_of(run)


@pytest.fixture(scope="package")
def facts(run: Path) -> Facts:
    """The facts of that run."""
    return facts_of(run)
