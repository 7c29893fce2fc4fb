"""The formats of logs that ingest knows: how their files are called, and how one of them is looked at."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pipelines.ingest.mapping import JSONL, LogMapping
from pipelines.ingest.scan import Content, json_fault, mind_fault, scan_lines, scan_parquet
from schemas.errors import InputError

FORMATS = ("jsonl", "mind", "ebnerd")
EBNERD_COLUMNS = {
    "impression_id": "impression_id",
    "user_id": "user_id",
    "time": "impression_time",
    "shown": "article_ids_inview",
    "clicked": "article_ids_clicked",
}
EBNERD_HISTORY = {"user_id": "user_id", "history": "article_id_fixed"}
PATTERNS = {
    "jsonl": ("logs/*.jsonl", "logs/*.jsonl.gz"),
    "mind": ("behaviors*.tsv", "behaviors*.tsv.gz"),
    "ebnerd": ("behaviors.parquet", "*/behaviors.parquet"),
}
_SUFFIXES = {"jsonl": (".jsonl", ".jsonl.gz"), "mind": (".tsv", ".tsv.gz"), "ebnerd": ("behaviors.parquet",)}


def format_of(name: str) -> str:
    """The format of a log file, told by its suffix."""
    for format, suffixes in _SUFFIXES.items():
        if name.endswith(suffixes):
            return format
    wanted = ", ".join(suffix for suffixes in _SUFFIXES.values() for suffix in suffixes)
    raise InputError(f"{name}: a log file ends in one of {wanted}. Rename it, name a folder, or give a --mapping")


def _scan_ebnerd(path: Path, _: LogMapping) -> Content | None:
    try:
        scan_parquet(path.with_name("history.parquet"), EBNERD_HISTORY)
    except InputError as error:
        raise InputError(f"its history.parquet {error}") from error
    return scan_parquet(path, EBNERD_COLUMNS)


def _scan_mapped(path: Path, mapping: LogMapping) -> Content | None:
    if mapping.format == JSONL:
        return scan_lines(path, json_fault(mapping))
    return scan_parquet(path, mapping.read_columns, [name for name in mapping.columns if mapping.is_list(name)])


SCANS: dict[str, Callable[[Path, LogMapping], Content | None]] = {
    "jsonl": lambda path, mapping: scan_lines(path, json_fault(mapping)),
    "mind": lambda path, _: scan_lines(path, mind_fault),
    "ebnerd": _scan_ebnerd,
    "mapped": _scan_mapped,
}
