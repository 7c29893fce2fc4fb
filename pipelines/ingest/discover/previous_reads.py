"""The part of a log file that was read before, and whether the file still begins with it; no Spark.

A file continues its previous read if its text still begins with the same bytes, by their hash. If an older lake has no
hash of a file, the older rule holds: the file is no smaller and its first line is the same. Reading its next lines
stores the hash.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pipelines.compressed import UNREADABLE, is_compressed
from pipelines.ingest.discover.fingerprint import joined_stamps, stamp_of
from pipelines.ingest.discover.formats import parts_of
from pipelines.ingest.discover.pieces import begins_with, start_of
from pipelines.ingest.discover.scan import Content


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """The row of INGEST_FILES about a file that was read before."""

    bytes: int
    lines: int
    first_line_sha256: str
    whole_lines: bool
    text_bytes: int | None = None  # this and the next two: None in the rows of older lakes
    text_sha256: str | None = None
    stamp: str | None = None


def is_unchanged(path: Path, format: str, before: Known) -> bool:
    """Whether the file is known to be unchanged since its last read, without reading all of it."""
    try:
        if before.text_sha256 is not None:
            stamp = joined_stamps(*map(stamp_of, parts_of(path, format)))
            return stamp is not None and stamp == before.stamp
        return path.stat().st_size == before.bytes and start_of(path) == before.first_line_sha256
    except UNREADABLE:
        return False  # the full inspection reports why


def last_line_waits(path: Path, before: Known) -> bool:
    """Whether an unchanged file ends with a line that was not read because it had no line end."""
    return not is_compressed(path.name) and path.stat().st_size > before.bytes


def fault_of(path: Path, content: Content, before: Known) -> str | None:
    """Why the file does not continue its previous read; None if it does."""
    if before.text_sha256 is not None:
        if content.begins == before.text_sha256:
            return None
        differs = "is shorter than" if content.begins is None else "differs from"
        return _replaced(f"its text now {differs} the {before.lines} lines that were read of it")
    if path.stat().st_size >= before.bytes and content.first_line_sha256 == before.first_line_sha256:
        return None
    partial = before.lines == 1 and not before.whole_lines  # its only line was not complete then
    if partial and not is_compressed(path.name) and begins_with(path, before.bytes, before.first_line_sha256):
        return None
    return _replaced("it was longer then or began with another line")


def read_before(path: Path, content: Content, before: Known) -> int:
    """The number of its lines that need not be read again: all if no text was added, else all but a last one without a
    line end, which may have grown since.
    """
    if before.text_sha256 is not None:
        same = content.text_sha256 == before.text_sha256
    else:
        same = path.stat().st_size == before.bytes
    return content.lines if same else before.lines - (not before.whole_lines)


def waiting(content: Content, before: Known | None) -> bool:
    """Whether a last line waits for its line end and no earlier run has read it without one."""
    read = 0 if before is None or before.text_bytes is None else before.text_bytes
    return content.waiting > 0 and content.text_bytes + content.waiting > read


def _replaced(what: str) -> str:
    return (
        f"a file of this name was ingested before, and {what}: it was rotated, replaced or edited. Nothing of it is "
        "read now, for it cannot be known which of its lines are new. Give the file a name of its own, as logrotate's "
        "dateext does, or this folder its own --source"
    )
