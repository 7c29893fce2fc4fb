"""One log file as a run reads it, and batches of such files."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pipelines.compressed import is_compressed
from pipelines.ingest.discover.scan import Cuts
from pipelines.ingest.parse.mapping import LogMapping

UNPACKED = 8  # approximate bytes of text in a byte of a compressed file or of Parquet


@dataclass(frozen=True, slots=True, kw_only=True)
class LogFile:
    """One log file as it was when it was inspected; `name` is its path below the folder that is ingested."""

    path: Path
    name: str
    format: str  # of FORMATS, or mapped
    lines_format: str  # RAW_LOG.format of its lines
    bytes: int  # up to the end of its last line
    lines: int  # later ones wait for the next run
    first_line_sha256: str  # of a Parquet file: of its footer
    whole_lines: bool  # they end with a line end
    text_bytes: int | None = None  # of these lines
    text_sha256: str | None = None  # of these lines (fingerprint.py); None: a Delta table's file, which never changes
    stamp: str | None = None  # of the file before it was inspected
    skip: int = 0  # lines that were read before
    mapping: LogMapping | None = None
    types: tuple[tuple[str, str], ...] = ()  # of a Parquet file's columns
    cuts: Cuts = ()  # where it can be cut for several tasks
    table: str = ""  # of a Delta table's file: the table's folder or URL
    table_version: int = 0  # the version of the table that lists the file


def size_of(path: Path) -> int:
    """Bytes of a file; 0 if they cannot be read, for its inspection reports why."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def in_batches(files: Iterable[LogFile], max_bytes: int) -> list[list[LogFile]]:
    """The files in batches of at most `max_bytes` of text, or of one larger file; all files of a batch are alike."""
    batches: list[list[LogFile]] = []
    room = 0
    for file in sorted(files, key=_kind):
        size = file.bytes * (UNPACKED if file.types or file.table or is_compressed(file.path.name) else 1)
        if not batches or size > room or _kind(file) != _kind(batches[-1][0]):
            batches.append([])
            room = max_bytes
        batches[-1].append(file)
        room -= size
    return batches


def _kind(file: LogFile) -> tuple[object, ...]:
    """The format and types that the files of a batch share: one schema reads them."""
    return file.lines_format, file.types
