"""Reads the counts of ingest and of the news from the lake's Delta tables, without Spark."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from schemas.errors import InputError
from schemas.manifest import Manifest
from schemas.news import ITEM_TOKENS
from schemas.raw_log import INGEST_RUNS, REJECTS
from schemas.storage.place import Place
from trainer.eval.lake_rows import delta_rows

_SUMMED = (
    "files", "lines", "impressions", "merged", "replayed", "retold", "double_logged", "repeated_news", "rejected",
)  # fmt: skip


def ingest_counts(lake: Path | Place, source: str) -> dict[str, Any]:
    """Counts of all ingest runs of this source so far, by the names of ingest's summary."""
    runs = delta_rows(lake / INGEST_RUNS.name, dict.fromkeys(_SUMMED, pa.int64()), where=("source", source))
    reasons = delta_rows(lake / REJECTS.name, {"reason": pa.string()}, where=("source", source))
    if not len(runs):
        raise InputError(f"{lake}: no logs of source {source!r} were ingested here. Name the lake of this run")
    counts = {name: int(pc.sum(runs[name]).as_py()) for name in _SUMMED}
    return counts | {"rejected_by_reason": dict(Counter(reasons["reason"].to_pylist())), "batches": len(runs)}


def news_counts(lake: Path | Place, manifest: Manifest) -> dict[str, Any]:
    """Items of the packed source, items with the text of another, tokens of all text, at the packed version."""
    columns = {"item_row": pa.int64(), "canonical_row": pa.int64(), "segment_full_tokens": pa.list_(pa.int64())}
    items = delta_rows(
        lake / ITEM_TOKENS.name,
        columns,
        where=("source", manifest.source),
        version=manifest.version_of(ITEM_TOKENS.name),
    )
    folded = pc.sum(pc.not_equal(items["item_row"], items["canonical_row"])).as_py() or 0
    full = pc.sum(pc.list_flatten(items["segment_full_tokens"])).as_py() or 0
    return {"items": len(items), "folded_items": int(folded), "full_tokens": int(full)}
