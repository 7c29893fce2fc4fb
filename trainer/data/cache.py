"""Cache: what was read from behind a URL, kept on this machine's disk by its sha256; ranks and runs share it.

An entry is written under another name, its sum is checked, and then it is renamed: a kill leaves nothing that counts
as whole. Each process checks the sum of an entry when it first meets it. Kernel locks tell who is at work: two who
want one entry fetch it once, an entry that is open or mapped stays, and what a dead process left unfinished goes. On a
file system without locks the first two cost more and the last stays, and nothing else changes.
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

_DIGITS = 2  # of an entry's name: its folder, and its lock among 256
_LOOKS = 64  # so many looks at the whole folder while it is filled once
_CLEARED = 8  # an eighth is free after each: processes beside this one fill it too


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheConfig:
    """What is kept on this machine of data behind a URL; data on its own disks is read where it lies."""

    cache_dir: Path | None = None  # Keeps what was read of data behind a URL. None = a folder of the user's own cache
    cache_bytes: int = 20 << 30  # At most, but for what is in use and the folder frozen, of frozen layers' output

    def __post_init__(self) -> None:
        if not 0 <= self.cache_bytes < 1 << 62:
            raise ValueError(f"cache_bytes is {self.cache_bytes}: use 0 or more")


class WrongSumError(Exception):
    """What was fetched has another sha256 than was asked for."""

    def __init__(self, found: str, wanted: str) -> None:
        super().__init__(f"sha256 {found[:12]}…, the manifest says {wanted[:12]}…")


class Cache:
    """The cache in one folder; of any number of threads and processes."""

    def __init__(self, config: CacheConfig) -> None:
        self.folder = _folder(config)
        self._largest = config.cache_bytes
        self._seen: dict[str, tuple[int, ...]] = {}  # entries whose sums this process has checked, as they were then
        self._counting = threading.Lock()
        self._added = config.cache_bytes  # bytes since the last look at the whole folder: before the first, unknown

    def opened(self, sha256: str, size: int, fetch: Callable[[Path], None]) -> BufferedReader:
        """The `size` bytes with this sum, open for reading; `fetch` brings them to a path where they are not here yet.

        WrongSumError if it brings others, NoSpaceError for a full disk.
        """
        found = self._found(sha256, size)
        if found is not None:
            return found
        with self._alone(sha256):
            found = self._found(sha256, size) or self._fetched(sha256, size, fetch)
        self._count(size)
        return found

    def _found(self, sha256: str, size: int) -> BufferedReader | None:
        """The entry, if it is here and whole; a damaged one is removed."""
        path = self._path(sha256)
        try:
            stream = path.open("rb")
        except FileNotFoundError:
            return None
        _lock(stream.fileno(), fcntl.LOCK_SH)  # as long as it is open, or mapped
        now = _identity(stream)
        if self._seen.get(sha256) != now:
            if os.fstat(stream.fileno()).st_size != size or _digest(stream) != sha256:
                stream.close()
                path.unlink(missing_ok=True)
                return None
            self._seen[sha256] = now
        with suppress(OSError):  # another user's, in a folder that several share
            modified = os.fstat(stream.fileno()).st_mtime_ns
            os.utime(stream.fileno(), ns=(time.time_ns(), modified))
        return stream

    def _fetched(self, sha256: str, size: int, fetch: Callable[[Path], None]) -> BufferedReader:
        try:
            return self._brought(sha256, size, fetch)
        except NoSpaceError:  # the disk is smaller than cache_bytes: all that nobody uses goes
            self._evict(0)
            return self._brought(sha256, size, fetch)

    def _brought(self, sha256: str, size: int, fetch: Callable[[Path], None]) -> BufferedReader:
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
        self._seen[sha256] = _identity(stream)
        return stream

    def _path(self, sha256: str) -> Path:
        return self.folder / "content" / sha256[:_DIGITS] / sha256

    @contextmanager
    def _alone(self, name: str, *, waits: bool = True) -> Iterator[bool | None]:
        """Inside, the lock of this name is held; or it is not, see `_lock`."""
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
        with self._alone("evicting", waits=False) as alone:  # of several who find it full, one makes room
            if alone is not False:
                self._evict(self._largest - self._largest // _CLEARED)
                self._sweep()

    def _evict(self, goal: int) -> None:
        """Remove the entries used longest ago until `goal` bytes are left, but none that is in use."""
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
        """Remove what processes that have died left unfinished: whoever is at work holds the lock of its name."""
        for part in (self.folder / "unfinished").glob("*"):
            with self._alone(part.name.lstrip("."), waits=False) as alone:
                if alone:
                    part.unlink(missing_ok=True)


def _lock(handle: int, kind: int, *, waits: bool = False) -> bool | None:
    """Whether the lock was had; None where the file system has none."""
    try:
        fcntl.flock(handle, kind if waits else kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _identity(stream: BufferedReader) -> tuple[int, ...]:
    """Differs where another file stands there, or somebody wrote into it."""
    found = os.fstat(stream.fileno())
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _digest(stream: BufferedReader) -> str:
    digest = hashlib.file_digest(stream, "sha256").hexdigest()
    stream.seek(0)
    return digest


def _folder(config: CacheConfig) -> Path:
    """The folder named; by default one of the user's own cache, or, without a home, of the scratch files."""
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
