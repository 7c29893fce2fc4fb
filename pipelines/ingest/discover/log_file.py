"""One file of logs as a run reads it, and batches of such files."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pipelines.compressed import is_compressed
from pipelines.ingest.discover.scan import Cuts
from pipelines.ingest.parse.mapping import LogMapping

UNPACKED = 8  # bytes of text in a byte of a compressed file or of Parquet, about


@dataclass(frozen=True, slots=True, kw_only=True)
class LogFile:
    """One file of logs as it was when it was looked at; `name` is its path below the folder that is ingested."""

    path: Path
    name: str
    format: str  # of FORMATS, or mapped
    lines_format: str  # what RAW_LOG.format tells of its lines
    bytes: int  # up to the end of its last line
    lines: int  # what comes after them has to wait for the next run
    first_line_sha256: str  # of a Parquet file: of its footer
    whole_lines: bool  # they end with a line end
    text_bytes: int | None = None  # of these lines, and
    text_sha256: str | None = None  # their hash (fingerprint.py); None of a Delta table's file, which never changes
    stamp: str | None = None  # of the file before it was looked at
    skip: int = 0  # lines that were read before
    mapping: LogMapping | None = None
    types: tuple[tuple[str, str], ...] = ()  # of a Parquet file's columns
    cuts: Cuts = ()  # where tasks can share it
    table: str = ""  # a file of a Delta table: where that lies, and
    table_version: int = 0  # in which of its versions the file was listed


def size_of(path: Path) -> int:
    """Bytes of a file, asked for once; 0 where the look at it will tell why there are none."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def in_batches(files: Iterable[LogFile], max_bytes: int) -> list[list[LogFile]]:
    """The files cut into batches of at most `max_bytes` of text, one file at least, and of one kind."""
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
    """What the files of a batch have in common: they are read by one schema."""
    return file.lines_format, file.types
