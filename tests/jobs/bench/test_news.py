from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from jobs.bench.news import news
from schemas.errors import InputError
from tests.conftest import REPOSITORY


def test_numbers_out_of_range_are_rejected() -> None:
    with pytest.raises(InputError, match="--added is 0 and --repeats 1: use 1 or more"):
        news(added=0, repeats=1)


@pytest.mark.slow
def test_the_complete_benchmark_runs_on_small_data_and_prints_one_json_object_last(tmp_path: Path) -> None:
    lines = [
        {"news_id": f"n{n}", "title": f"title {n}", "body": f"word{n} and the other words " * 20} for n in range(40)
    ]
    (tmp_path / "small.jsonl").write_text("\n".join(map(json.dumps, lines)))
    options = ["--news", tmp_path / "small.jsonl", "--work", tmp_path / "work", "--added", "7", "--repeats", "1"]
    command = [sys.executable, "-m", "jobs.bench.news", *map(str, options)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])["small"]
    assert (found["news"], found["segments"], found["refined_segments"]) == (40, 80, 40)
    assert found["touched_with_few_new"] == {"new_items": 7, "retokenised_items": 0}
    assert (found["padding_stored"], found["words"]) == (0.0, 40 * (2 + 20 * 5))
    assert found["tokens_after"] < found["tokens_before"]
