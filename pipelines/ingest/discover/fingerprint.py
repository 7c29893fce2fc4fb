"""Identifies the content of a log file by a hash of the text that was read and by a stamp.

The hash is SHA-256 of the text that was read, without a byte order mark and with a line feed as each line end, so that
the same lines compressed again or with other line ends have the same hash; of a Parquet file it is that of all its
bytes. It is computed again unless the stamp from the file system (size, times, inode) shows that the file is unchanged.
"""

from __future__ import annotations

import hashlib
import time
from pathlib import Path

from schemas.storage.paths import is_remote, version_tag

_FRESH_NS = 3_000_000_000  # two changes within one clock tick of a file system leave the same times


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
        """Add text, which must not split a carriage return from its line feed; its last line end is before `end`."""
        if end:
            self._update(piece[:end])
            self.ended_bytes, self._ended = self.bytes, self._hash.copy()
        self._update(piece[end:])

    @property
    def sha256(self) -> str:
        """The hash of the text so far."""
        return self._hash.hexdigest()

    @property
    def ended_sha256(self) -> str:
        """The hash of the text up to its last line end."""
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
    """The SHA-256 of all bytes of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def joined_sums(*sums: str) -> str:
    """One hash of several files' hashes."""
    return sums[0] if len(sums) == 1 else hashlib.sha256(" ".join(sums).encode()).hexdigest()


def stamp_of(path: Path) -> str | None:
    """While the stamp stays the same, so does the file's content. None if the file changed within the last seconds: it
    could change again and keep its stamp.
    """
    if is_remote(path):  # an object is replaced in one piece, together with its tag
        return version_tag(path)
    found = path.stat()
    if max(found.st_mtime_ns, found.st_ctime_ns) > time.time_ns() - _FRESH_NS:
        return None
    return f"{found.st_size}-{found.st_mtime_ns}-{found.st_ctime_ns}-{found.st_ino}"


def joined_stamps(*stamps: str | None) -> str | None:
    """One stamp of several files."""
    known = [stamp for stamp in stamps if stamp is not None]
    return " ".join(known) if len(known) == len(stamps) else None
