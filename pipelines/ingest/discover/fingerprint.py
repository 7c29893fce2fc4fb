"""What tells the content of a log file from other content under its name: a hash of what was read, and a stamp.

The hash is SHA-256 of the text that was read, byte order mark off and each line end a line feed, so that the same lines
packed again or with other line ends are the same; of a Parquet file it is that of all its bytes. It is taken anew
unless the stamp, which the file system keeps (size, times, inode), says that the file is as it was.
"""

from __future__ import annotations

import hashlib
import time
from pathlib import Path

from schemas.storage.paths import is_remote, version_tag

_FRESH_NS = 3_000_000_000  # within the clock tick of a file system, a change leaves the times as they were


class TextHash:
    """The running hash of a text: at its end, after its last line end, and after its first `mark` bytes."""

    def __init__(self, mark: int = 0) -> None:
        self.bytes = self.ended_bytes = 0
        self.at_mark: str | None = None  # None where the text is shorter
        self._mark = mark
        self._hash = hashlib.sha256()
        self._ended = self._hash.copy()
        self._update(b"")

    def add(self, piece: bytes, end: int) -> None:
        """More of the text, which parts no carriage return from its line feed; its last line end is before `end`."""
        if end:
            self._update(piece[:end])
            self.ended_bytes, self._ended = self.bytes, self._hash.copy()
        self._update(piece[end:])

    @property
    def sha256(self) -> str:
        """Of all of the text."""
        return self._hash.hexdigest()

    @property
    def ended_sha256(self) -> str:
        """Of the text up to its last line end."""
        return self._ended.hexdigest()

    def _update(self, text: bytes) -> None:
        if b"\r" in text:
            text = text.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        left = self._mark - self.bytes
        if self.at_mark is None and left <= len(text):
            self._hash.update(text[:left])
            self.at_mark = self._hash.hexdigest()
            text, self.bytes = text[left:], self._mark
        self._hash.update(text)
        self.bytes += len(text)


def bytes_sha256(path: Path) -> str:
    """Of all bytes of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def joined_sums(*sums: str) -> str:
    """One hash of several files' hashes."""
    return sums[0] if len(sums) == 1 else hashlib.sha256(" ".join(sums).encode()).hexdigest()


def stamp_of(path: Path) -> str | None:
    """While it stays the same, so does the file's content. None where the file changed but a moment ago: it might
    change again and keep its stamp.
    """
    if is_remote(path):  # an object is replaced whole, and its tag with it
        return version_tag(path)
    found = path.stat()
    if max(found.st_mtime_ns, found.st_ctime_ns) > time.time_ns() - _FRESH_NS:
        return None
    return f"{found.st_size}-{found.st_mtime_ns}-{found.st_ctime_ns}-{found.st_ino}"


def joined_stamps(*stamps: str | None) -> str | None:
    """One stamp of several files."""
    known = [stamp for stamp in stamps if stamp is not None]
    return " ".join(known) if len(known) == len(stamps) else None
