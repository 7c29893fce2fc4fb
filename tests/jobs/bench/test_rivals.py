from __future__ import annotations

from pathlib import Path

import pytest

from jobs.bench.rivals import rivals
from schemas.errors import InputError
from tests.builders import json_line, write_logs


def test_duckdb_counts_each_impression_once(tmp_path: Path) -> None:
    logs = write_logs(tmp_path / "logs", {"a.jsonl": [json_line("i1"), json_line("i1")], "b.jsonl": [json_line("i2")]})
    found = rivals(logs=logs, out=tmp_path / "out", rival="duckdb")
    assert (found["impressions"], found["histories"], found["rejects"]) == (1, 1, 0)  # i2: the same user, second, news


def test_an_existing_folder_is_not_overwritten(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="Name other folders"):
        rivals(logs=tmp_path, out=tmp_path)
