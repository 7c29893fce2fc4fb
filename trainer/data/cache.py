"""Caches data from behind a URL on this machine's disk, by sha256; ranks and runs share the cache.

An entry is written under a temporary name, checked and then renamed, so a killed process never leaves an incomplete
entry. Each process checks the sum of an entry when it first opens it. Kernel locks have three uses: processes that want
the same entry fetch it once, an entry that is open or mapped is not evicted, and unfinished files of dead processes are
removed. On a file system without locks entries may be fetched twice or evicted early, and unfinished files stay.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from uuid import uuid4

from schemas.errors import InputError
from schemas.space import NoSpaceError, space_for

_DIGITS = 2  # of an entry's name: they name its folder, and its lock among 256
_LOOKS = 64  # the folder's size is checked after each 1/64 of cache_bytes
_CLEARED = 8  # each check leaves 1/8 free, since other processes fill the cache too


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheConfig:
    """The cache of data behind a URL; data on this machine's disks is read in place."""

    cache_dir: Path | None = None  # Cache folder for data behind a URL. None = a folder in the user's own cache
    cache_bytes: int = 20 << 30  # Upper limit, not counting entries in use and stored output of frozen layers

    def __post_init__(self) -> None:
        if not 0 <= self.cache_bytes < 1 << 62:
            raise ValueError(f"cache_bytes is {self.cache_bytes}: use 0 or more")


class WrongSumError(Exception):
    """The fetched bytes have another sha256 than the manifest."""

    def __init__(self, found: str, wanted: str) -> None:
        super().__init__(f"sha256 {found[:12]}…, the manifest says {wanted[:12]}…")


class Cache:
    """The cache in one folder, for any number of threads and processes."""

    def __init__(self, config: CacheConfig) -> None:
        self.folder = _folder(config)
        self._largest = config.cache_bytes
        self._checked: dict[str, tuple[int, ...]] = {}  # entries whose sums this process checked, with their identity
        self._counting = threading.Lock()
        self._added = config.cache_bytes  # bytes added since the last size check; at first unknown, so due

    def opened(self, sha256: str, size: int, fetch: Callable[[Path], None]) -> BufferedReader:
        """The `size` bytes with this sum, open for reading; `fetch` writes them to a path if the cache lacks them.

        WrongSumError if it writes other bytes, NoSpaceError for a full disk.
        """
        found = self._found(sha256, size)
        if found is not None:
            return found
        with self._alone(sha256):
            found = self._found(sha256, size) or self._fetched(sha256, size, fetch)
        self._count(size)
        return found

    def _found(self, sha256: str, size: int) -> BufferedReader | None:
        """The entry if it exists and is complete; a damaged one is removed."""
        path = self._path(sha256)
        try:
            stream = path.open("rb")
        except FileNotFoundError:
            return None
        _lock(stream.fileno(), fcntl.LOCK_SH)  # as long as it is open, or mapped
        now = _identity(stream)
        if self._checked.get(sha256) != now:
            if os.fstat(stream.fileno()).st_size != size or _digest(stream) != sha256:
                stream.close()
                path.unlink(missing_ok=True)
                return None
            self._checked[sha256] = now
        with suppress(OSError):  # the entry of another user, in a shared folder
            modified = os.fstat(stream.fileno()).st_mtime_ns
            os.utime(stream.fileno(), ns=(time.time_ns(), modified))
        return stream

    def _fetched(self, sha256: str, size: int, fetch: Callable[[Path], None]) -> BufferedReader:
        try:
            return self._fetch(sha256, size, fetch)
        except NoSpaceError:  # the disk is smaller than cache_bytes: evict every entry that is not in use
            self._evict(0)
            return self._fetch(sha256, size, fetch)

    def _fetch(self, sha256: str, size: int, fetch: Callable[[Path], None]) -> BufferedReader:
        path, part = self._path(sha256), self.folder / "unfinished" / f"{sha256[:_DIGITS]}-{uuid4().hex}"
        try:
            with space_for(self.folder, size):
                part.parent.mkdir(parents=True, exist_ok=True)
                path.parent.mkdir(parents=True, exist_ok=True)
                fetch(part)
            stream = part.open("rb")
            if (digest := _digest(stream)) != sha256:
                stream.close()
                raise WrongSumError(digest, sha256)
            _lock(stream.fileno(), fcntl.LOCK_SH)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
        self._checked[sha256] = _identity(stream)
        return stream

    def _path(self, sha256: str) -> Path:
        return self.folder / "content" / sha256[:_DIGITS] / sha256

    @contextmanager
    def _alone(self, name: str, *, waits: bool = True) -> Iterator[bool | None]:
        """Inside, holds the lock of this name, or not: yields the result of `_lock`."""
        locks = self.folder / "locks"
        with space_for(self.folder):
            locks.mkdir(parents=True, exist_ok=True)
            handle = os.open(locks / name[:_DIGITS], os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            yield _lock(handle, fcntl.LOCK_EX, waits=waits)
        finally:
            os.close(handle)

    def _count(self, size: int) -> None:
        with self._counting:
            self._added += size
            if self._added <= self._largest // _LOOKS:
                return
            self._added = 0
        with self._alone("evicting", waits=False) as alone:  # of several that find it full, one evicts
            if alone is not False:
                self._evict(self._largest - self._largest // _CLEARED)
                self._sweep()

    def _evict(self, goal: int) -> None:
        """Removes the least recently used entries, except those in use, until `goal` bytes are left."""
        entries = []
        for path in (self.folder / "content").glob("*/*"):
            with suppress(FileNotFoundError):
                found = path.stat()
                entries.append((found.st_atime_ns, found.st_size, path))
        left = sum(size for _, size, _ in entries)
        for _, size, path in sorted(entries):
            if left <= goal:
                return
            with suppress(FileNotFoundError), path.open("rb") as stream:
                if _lock(stream.fileno(), fcntl.LOCK_EX) is not False:
                    path.unlink()
                    left -= size

    def _sweep(self) -> None:
        """Removes unfinished files of dead processes; a living process holds the lock of its file's name."""
        for part in (self.folder / "unfinished").glob("*"):
            with self._alone(part.name.lstrip("."), waits=False) as alone:
                if alone:
                    part.unlink(missing_ok=True)


def _lock(handle: int, kind: int, *, waits: bool = False) -> bool | None:
    """Whether the lock was acquired; None where the file system has no locks."""
    try:
        fcntl.flock(handle, kind if waits else kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _identity(stream: BufferedReader) -> tuple[int, ...]:
    """Changes when the file is replaced or written to."""
    found = os.fstat(stream.fileno())
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _digest(stream: BufferedReader) -> str:
    digest = hashlib.file_digest(stream, "sha256").hexdigest()
    stream.seek(0)
    return digest


def _folder(config: CacheConfig) -> Path:
    """The configured folder; by default one in the user's cache, or without a home in the temporary folder."""
    if config.cache_dir is not None:
        return _made(config.cache_dir)
    try:
        return _made(Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "feedloop")
    except (OSError, RuntimeError):  # RuntimeError: no home
        folder = _made(Path(tempfile.gettempdir(), f"feedloop-cache-{os.getuid()}"))
    if folder.stat().st_uid != os.getuid():
        raise InputError(f"{folder}: belongs to another user. Name a folder of your own by --cache-dir")
    return folder


def _made(folder: Path) -> Path:
    folder = folder.absolute()
    with space_for(folder):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError(13, "cannot be written to; name another --cache-dir", str(folder))
    return folder
