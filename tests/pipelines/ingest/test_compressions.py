"""The same lines give the same tables, whatever compression their files have."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from pipelines.compressed import SUFFIXES
from pipelines.ingest.discover.sources import find_new, log_paths
from pipelines.ingest.flow import ingest_logs
from pipelines.ingest.parse.mapping import LogMapping
from pipelines.lake.tables import Lake
from schemas.impression import HISTORIES, IMPRESSIONS
from schemas.raw_log import INGEST_FILES, INGEST_RUNS, RAW_LOG, REJECTS
from schemas.table import Table
from tests.builders import ARRIVED, json_line, mind_line, rows
from tests.compressing import packed

MAPPED = LogMapping(
    files="days/*/*",
    columns={"impression_id": "id", "user_id": "who.id", "time": "at", "shown": "list", "clicked": "hits"},
)
KINDS = {"jsonl": ("logs/{}.jsonl", None), "mind": ("behaviors{}.tsv", None), "mapped": ("days/{0}/{0}.log", MAPPED)}
TABLES = (RAW_LOG, IMPRESSIONS, HISTORIES, REJECTS, INGEST_RUNS)


def lines_of(kind: str, file: int) -> list[str]:
    """Good lines, one of another file again, and a bad one."""
    ids = [f"{file}", f"{file}0", f"{(file + 1) % len(SUFFIXES)}"]
    if kind == "mind":
        return [*(mind_line(id, f"U{id}", shown=f"N{id}-1 N4-0") for id in ids), mind_line(time="never")]
    if kind == "jsonl":
        return [*(json_line(id, user_id=f"u{id}", shown=[id, "n3"]) for id in ids), "rubbish"]
    common = {"who": {"id": 5}, "at": "2026-03-02T09:15:31Z", "hits": []}
    return [json.dumps({"id": int(id), "list": [f"n{id}"]} | common) for id in ids]


def ingested(spark: SparkSession, folder: Path, kind: str, suffixes: Sequence[str]) -> tuple[dict[str, Any], Lake]:
    """The summary and the lake of a log, one file with each suffix, of two archives where it is compressed."""
    name, mapping = KINDS[kind]
    for file, suffix in enumerate(suffixes):
        path = folder / (name.format(file) + suffix)
        path.parent.mkdir(parents=True, exist_ok=True)
        text = "".join(line + "\n" for line in lines_of(kind, file)).encode().removesuffix(b"\n" if suffix else b"")
        path.write_bytes(packed(path.name, text[:70], text[70:]))
    find = partial(find_new, log_paths(folder, "auto", mapping), folder, mapping)
    lake = Lake(spark, str(folder / "lake"))
    return ingest_logs(lake, find, source="s", arrived_at=ARRIVED), lake


def contents(lake: Lake, table: Table) -> list[tuple[Any, ...]]:
    """The rows; files by the names that they have when they are not compressed."""
    frame = lake.read(table)
    kept = [name for name in frame.columns if name not in ("file", "finished_at")]
    plain = ["regexp_replace(file, '[.](gz|zst|bz2|lz4|xz)$', '') AS file"] if "file" in frame.columns else []
    return rows(frame.selectExpr(*plain, *kept))


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_lines_give_the_same_tables_whatever_compression_they_have(
    spark: SparkSession, tmp_path: Path, kind: str
) -> None:
    summary, plain = ingested(spark, tmp_path / "plain", kind, [""] * len(SUFFIXES))
    again, compressed = ingested(spark, tmp_path / "compressed", kind, SUFFIXES)
    assert (summary["files"], summary["impressions"] > 8, summary["merged"] > 0) == (len(SUFFIXES), True, True)
    assert {name: again[name] for name in ("files", "lines", "impressions", "merged", "rejected")} == {
        name: summary[name] for name in ("files", "lines", "impressions", "merged", "rejected")
    }
    for table in TABLES:
        assert contents(compressed, table) == contents(plain, table), table.name
    hashes = [rows(lake.read(INGEST_FILES), "lines", "first_line_sha256") for lake in (plain, compressed)]
    assert hashes[0] == hashes[1]
