"""The log formats that ingest knows: the names of their files, and how each format is scanned.

Whether the last line of a file counts if it has no line end:

- JSON lines: if it is a complete JSON object, for no longer line begins with one. Else it waits for its line end
- MIND: it waits, for the beginning of a line looks like a shorter line
- compressed files of both: it always counts, for such a file is complete or cannot be read
- Parquet, Delta and JSON arrays: they hold complete rows

`ingest --final` counts every last line: it states that the files are complete.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

from pipelines.compressed import SUFFIXES, plain_name, with_compressed
from pipelines.ingest.discover.fingerprint import bytes_sha256, joined_stamps, joined_sums
from pipelines.ingest.discover.json_arrays import array_sha256, is_array, scan_array
from pipelines.ingest.discover.json_fault import is_complete_json, json_fault
from pipelines.ingest.discover.pieces import text_sha256
from pipelines.ingest.discover.scan import Content, ScanOptions, mind_fault, scan_lines, scan_parquet
from pipelines.ingest.parse.mapping import JSONL, LogMapping
from schemas.errors import InputError

FORMATS = ("jsonl", "mind", "ebnerd")
EBNERD_COLUMNS = {
    "impression_id": "impression_id",
    "user_id": "user_id",
    "time": "impression_time",
    "shown": "article_ids_inview",
    "clicked": "article_ids_clicked",
}
EBNERD_HISTORY = {"user_id": ("user_id",), "history": ("article_id_fixed",)}
EBNERD = LogMapping(columns=EBNERD_COLUMNS)
PATTERNS = {
    "jsonl": with_compressed("logs/*.jsonl"),
    "mind": with_compressed("behaviors*.tsv"),
    "ebnerd": ("behaviors.parquet", "*/behaviors.parquet"),
}
_SUFFIXES = {"jsonl": ".jsonl", "mind": ".tsv", "ebnerd": "behaviors.parquet"}


def format_of(name: str) -> str:
    """The format of a log file, by its suffix. InputError if no format has it."""
    for format, suffix in _SUFFIXES.items():
        if (name if format == "ebnerd" else plain_name(name)).endswith(suffix):
            return format
    raise InputError(
        f"{name}: a log file ends in one of {', '.join(_SUFFIXES.values())}; compressed text ends in one of "
        f"{', '.join(SUFFIXES)} after that. Rename it, name a folder, or give a --mapping"
    )


def parts_of(path: Path, format: str) -> tuple[Path, ...]:
    """The files that the rows of a log file come from: EB-NeRD's histories are in another file."""
    return (path, path.with_name("history.parquet")) if format == "ebnerd" else (path,)


def sha256_now(path: Path, format: str, mapping: LogMapping | None, text_bytes: int) -> str | None:
    """The present hash of the part of a file that was read; None if the file is shorter."""
    if format == "ebnerd" or (mapping is not None and mapping.format == "parquet"):
        return joined_sums(*map(bytes_sha256, parts_of(path, format)))
    return (array_sha256 if is_array(path) else text_sha256)(path, text_bytes)


def ebnerd_paths(names: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """EB-NeRD's columns; its test split has no clicks, so its impressions are unlabelled."""
    present = set(names)
    return {name: (column,) for name, column in EBNERD_COLUMNS.items() if name != "clicked" or column in present}


def _scan_ebnerd(path: Path, _: LogMapping, __: ScanOptions) -> Content | None:
    try:
        history = scan_parquet(path.with_name("history.parquet"), lambda _: EBNERD_HISTORY, EBNERD)
    except InputError as error:
        raise InputError(f"its history.parquet {error}") from error
    found = scan_parquet(path, ebnerd_paths, EBNERD)
    if found is None:
        return None
    stamp = joined_stamps(found.stamp, None if history is None else history.stamp)
    sha256 = joined_sums(found.text_sha256, bytes_sha256(path.with_name("history.parquet")))
    return replace(found, stamp=stamp, text_sha256=sha256, begins=sha256)


def _scan_json(path: Path, mapping: LogMapping, options: ScanOptions) -> Content | None:
    if is_array(path):
        return scan_array(path, json_fault(mapping), options)
    return scan_lines(path, json_fault(mapping), is_complete_json, options)


def _scan_mapped(path: Path, mapping: LogMapping, options: ScanOptions) -> Content | None:
    if mapping.format == JSONL:
        return _scan_json(path, mapping, options)
    return scan_parquet(path, lambda _: mapping.paths, mapping)


SCANS: dict[str, Callable[[Path, LogMapping, ScanOptions], Content | None]] = {
    "jsonl": _scan_json,
    "mind": lambda path, _, options: scan_lines(path, mind_fault, lambda line: False, options),
    "ebnerd": _scan_ebnerd,
    "mapped": _scan_mapped,
}
