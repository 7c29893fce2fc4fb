"""What was read of a log file before, and whether the file still begins with it; no Spark.

A file continues what was read of it if its text still begins with the same bytes, by their hash. Where an older lake
has no hash of a file, it does so as it did then: if it is no smaller and its first line is the same. Its next lines
bring the hash.
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
    """What INGEST_FILES tells of a file that was read before."""

    bytes: int
    lines: int
    first_line_sha256: str
    whole_lines: bool
    text_bytes: int | None = None  # this and the next two: None in the rows of older lakes
    text_sha256: str | None = None
    stamp: str | None = None


def is_unchanged(path: Path, format: str, before: Known) -> bool:
    """Whether the file is known to be as it was when it was read last, without a look at all of it."""
    try:
        if before.text_sha256 is not None:
            stamp = joined_stamps(*map(stamp_of, parts_of(path, format)))
            return stamp is not None and stamp == before.stamp
        return path.stat().st_size == before.bytes and start_of(path) == before.first_line_sha256
    except UNREADABLE:
        return False  # looking at all of it will tell why


def last_line_waits(path: Path, before: Known) -> bool:
    """Whether an unchanged file ends in a line that was not read, for it had no line end."""
    return not is_compressed(path.name) and path.stat().st_size > before.bytes


def fault_of(path: Path, content: Content, before: Known) -> str | None:
    """Why the file does not continue what was read of it; None if it does."""
    if before.text_sha256 is not None:
        if content.begins == before.text_sha256:
            return None
        other = "ends before" if content.begins is None else "is another than"
        return _replaced(f"what it holds now {other} the {before.lines} lines that were read of it")
    if path.stat().st_size >= before.bytes and content.first_line_sha256 == before.first_line_sha256:
        return None
    half = before.lines == 1 and not before.whole_lines  # its only line was written by half
    if half and not is_compressed(path.name) and begins_with(path, before.bytes, before.first_line_sha256):
        return None
    return _replaced("it was longer then or began with another line")


def read_before(path: Path, content: Content, before: Known) -> int:
    """How many of its lines need not be read again: all of them where no text came, else all but a last one that had
    no line end, for it may have gone on since.
    """
    if before.text_sha256 is not None:
        same = content.text_sha256 == before.text_sha256
    else:
        same = path.stat().st_size == before.bytes
    return content.lines if same else before.lines - (not before.whole_lines)


def waiting(content: Content, before: Known | None) -> bool:
    """Whether a last line waits for its line end, and was not read by an earlier run that took it as it was."""
    read = 0 if before is None or before.text_bytes is None else before.text_bytes
    return content.waiting > 0 and content.text_bytes + content.waiting > read


def _replaced(what: str) -> str:
    return (
        f"a file of this name was ingested before, and {what}: it was rotated, replaced or edited. Nothing of it is "
        "read now, for nobody can say which of its lines are new. Give the file a name of its own, as logrotate's "
        "dateext does, or this folder its own --source"
    )
