"""The ingest counts of a lake, summed over its runs, from Delta tables without Spark."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import write_deltalake

from jobs.page.lake import ingest_counts, news_counts
from schemas.errors import InputError
from schemas.manifest import Manifest
from tests.packed import packed_directory


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    write_deltalake(str(path), pa.Table.from_pylist(rows))


def run_of(source: str, batch: int, lines: int) -> dict[str, Any]:
    zeros = dict.fromkeys(("files", "merged", "replayed", "retold", "double_logged", "repeated_news"), batch)
    return {"source": source, "batch": batch, "lines": lines, "impressions": lines - batch - 1, "rejected": 1, **zeros}


def test_the_counts_are_summed_over_the_runs_of_the_source(tmp_path: Path) -> None:
    write(tmp_path / "ingest_runs", [run_of("a", 1, 10), run_of("a", 2, 20), run_of("b", 1, 99)])
    refused = [("a", "not_json"), ("a", "bad_time"), ("a", "not_json"), ("b", "bad_id")]
    write(tmp_path / "rejects", [{"source": source, "reason": reason} for source, reason in refused])
    found = ingest_counts(tmp_path, "a")
    assert (found["lines"], found["impressions"], found["merged"], found["rejected"]) == (30, 25, 3, 2)
    assert found["rejected_by_reason"] == {"not_json": 2, "bad_time": 1}
    with pytest.raises(InputError, match=r"no logs of source 'c' were ingested here. Name the lake of this run"):
        ingest_counts(tmp_path, "c")


def test_news_are_counted_at_the_packed_version(tmp_path: Path) -> None:
    packed = packed_directory(tmp_path / "packed", config={"source": "a"})
    manifest = Manifest.from_json((packed / "manifest.json").read_text(), "m")
    items = [
        {"source": source, "item_row": row, "canonical_row": canonical, "segment_full_tokens": tokens}
        for source, row, canonical, tokens in (("a", 1, 1, [7, 3]), ("a", 2, 1, [5]), ("b", 3, 3, [100]))
    ]
    write(tmp_path / "item_tokens", items)
    write_deltalake(str(tmp_path / "item_tokens"), pa.Table.from_pylist(items[:1]), mode="append")
    found = news_counts(tmp_path, replace(manifest, inputs={"item_tokens": 0}))
    assert found == {"items": 2, "folded_items": 1, "full_tokens": 15}
