"""ObjectStore: S3, Google Cloud Storage and Azure, with the library that delta-rs and the embedded engine use.

Credentials and endpoints come from the environment variables that all three read: AWS_*, GOOGLE_*, AZURE_*.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

from schemas.errors import InputError
from schemas.storage.store import Entry

try:
    import obstore
    from obstore import store as obstore_stores
    from obstore.exceptions import AlreadyExistsError, BaseError
except ImportError as error:  # not needed where all data is on local disks
    MISSING: ImportError | None = error
else:
    MISSING = None

SCHEMES = ("s3", "gs", "abfss")
_PATIENCE: Any = {"max_retries": 6, "retry_timeout": timedelta(seconds=60)}
_REMOVED_AT_ONCE = 1000  # files, the most that S3 takes in one request
_AT_ONCE = 8 << 20  # bytes of a file in memory while it is fetched


class ObjectStore:
    """One bucket or container, such as s3://BUCKET."""

    def __init__(self, root: str) -> None:
        if MISSING is not None:
            raise InputError(f"{root}: object stores need the Python package obstore ({MISSING}). Install it")
        self._root = root
        with self._answering():
            self._store = obstore_stores.from_url(root, retry_config=_PATIENCE)

    def head(self, key: str) -> Entry | None:
        """See Store."""
        with self._answering(key):
            try:
                return _entry(obstore.head(self._store, key))
            except FileNotFoundError:
                return None

    def read(self, key: str, start: int = 0, length: int | None = None) -> bytes:
        """See Store."""
        with self._answering(key):
            if length is None:
                return bytes(
                    obstore.get(self._store, key, options={"range": {"offset": start}} if start else {}).bytes()
                )
            if not length:
                return b""
            try:
                return bytes(obstore.get_range(self._store, key, start=start, length=length))
            except FileNotFoundError:
                raise
            except BaseError:  # also raised for a range that begins past the end
                if obstore.head(self._store, key)["size"] > start:
                    raise
                return b""

    def fetch(self, key: str, to: Path) -> None:
        """See Store."""
        with self._answering(key):
            found = obstore.get(self._store, key)
            to.parent.mkdir(parents=True, exist_ok=True)
            part = to.with_name(f".{to.name}.{uuid4().hex[:8]}.part")
            try:
                with part.open("wb") as stream:
                    for piece in found.stream(min_chunk_size=_AT_ONCE):
                        stream.write(piece)
                part.replace(to)
            finally:
                part.unlink(missing_ok=True)

    def write(self, key: str, data: bytes | Path) -> None:
        """See Store."""
        with self._answering(key, writes=True):
            obstore.put(self._store, key, data)

    def create(self, key: str, data: bytes) -> None:
        """See Store."""
        with self._answering(key, writes=True):
            obstore.put(self._store, key, data, mode="create", use_multipart=False)

    def remove(self, keys: list[str]) -> None:
        """See Store."""
        for start in range(0, len(keys), _REMOVED_AT_ONCE):
            some = keys[start : start + _REMOVED_AT_ONCE]
            with self._answering(some[0]):
                try:
                    obstore.delete(self._store, some)
                except FileNotFoundError:  # a missing file stops the rest on some stores
                    for key in some:
                        with suppress(FileNotFoundError):
                            obstore.delete(self._store, key)

    def below(self, folder: str, after: str | None = None) -> Iterator[Entry]:
        """See Store."""
        with self._answering(folder):
            for batch in obstore.list(self._store, prefix=folder or None, offset=after):
                yield from map(_entry, batch)

    def inside(self, folder: str) -> tuple[list[str], list[Entry]]:
        """See Store."""
        with self._answering(folder):
            found = obstore.list_with_delimiter(self._store, prefix=folder or None)
        return sorted(found["common_prefixes"]), sorted(map(_entry, found["objects"]))

    def remove_folder(self, folder: str) -> None:
        """See Store."""
        self.remove([entry.key for entry in self.below(folder)])

    @contextmanager
    def _answering(self, key: str = "", *, writes: bool = False) -> Iterator[None]:
        """Inside, errors of the library become errors that name the place."""
        try:
            yield
        except AlreadyExistsError as error:
            raise FileExistsError(f"{self._root}/{key}") from error
        except FileNotFoundError as error:
            if writes:
                raise InputError(f"{self._root}: there is no such bucket or container") from error
            raise FileNotFoundError(2, "there is no such file", f"{self._root}/{key}") from error
        except BaseError as error:
            raise InputError(
                f"{self._root}/{key}: {_first_line(error)}. See that it exists, and that the environment names "
                "credentials, region and endpoint for it"
            ) from error


def _entry(found: Any) -> Entry:
    changed = round(found["last_modified"].timestamp() * 1e6)
    return Entry(found["path"], found["size"], changed, found["e_tag"] or "")


def _first_line(error: BaseException) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[0][:400] if lines else type(error).__name__
