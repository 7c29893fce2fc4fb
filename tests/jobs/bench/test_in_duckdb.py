from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from jobs.bench.in_duckdb import dedupe
from jobs.make_sample import make_sample
from tests.builders import json_line, write_logs


def by_view(row: dict[str, Any]) -> tuple[Any, ...]:
    return row["user_id"], row["time"]


def deduped(folder: Path, *lines: str) -> list[dict[str, Any]]:
    logs = write_logs(folder, {"a.jsonl": lines}) / "logs/a.jsonl"
    (folder / "out").mkdir()
    dedupe([str(logs)], folder / "out", threads=1)
    return sorted(pq.read_table(folder / "out/impressions.parquet").to_pylist(), key=by_view)


@pytest.mark.parametrize("seed", [1, 2])
def test_duckdb_finds_the_publishers_true_impressions(seed: int, tmp_path: Path) -> None:
    counts = make_sample(out=tmp_path / "sample", size="million", seed=seed, impressions=3_000)
    (tmp_path / "out").mkdir()
    rows = dedupe(sorted(map(str, (tmp_path / "sample/logs").iterdir())), tmp_path / "out", threads=2)
    found = pq.read_table(tmp_path / "out/impressions.parquet").to_pylist()
    found = [row for row in found if row["user_id"] != "i0000000"]  # a repeated field, which DuckDB accepts
    assert len(found) == counts["impressions"] <= rows["impressions"]
    truth = pq.read_table(tmp_path / "sample/truth/impressions.parquet").to_pylist()
    same = ("impression_id", "also_seen_as", "user_id", "time", "last_time", "shown", "clicked")
    expected = [{name: row[name] for name in same} | {"history_length": len(row["history"])} for row in truth]
    kept = [{name: row[name] for name in (*same, "history_length")} for row in found]
    assert sorted(kept, key=by_view) == sorted(expected, key=by_view)


def test_histories_are_stored_once_and_a_prefix_is_not(tmp_path: Path) -> None:
    lines = [
        json_line(f"i{at}", time=f"2026-03-02T09:0{at}:00Z", history=history)
        for at, history in enumerate((["n1"], ["n1", "n2"], [], ["n9"], ["n9", "n8"], ["n1", "n2", "n5"]))
    ]
    deduped(tmp_path, *lines)
    stored = pq.read_table(tmp_path / "out/histories.parquet")["clicks"].to_pylist()
    assert sorted(stored) == [["n1", "n2", "n5"], ["n9", "n8"]]


def test_different_lists_are_merged_and_sorted(tmp_path: Path) -> None:
    one = json_line(shown=["n4", "n3"], clicked=["n4"])
    other = json_line(shown=["n5", "n3"], clicked=["n5"], time="2026-03-02T09:15:32Z")
    (row,) = deduped(tmp_path, one, other)
    assert (row["shown"], row["clicked"]) == (["n3", "n4", "n5"], [False, True, True])
