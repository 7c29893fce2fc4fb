"""Files and folders of any place: the functions that the rest of feedloop calls."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path

from schemas.errors import InputError
from schemas.regular_file import read_bytes
from schemas.storage.hadoop import HadoopStore
from schemas.storage.local import LocalStore
from schemas.storage.objects import ObjectStore
from schemas.storage.place import Place
from schemas.storage.store import Entry, Store

_STORES: dict[str, Callable[[str], Store]] = {
    "s3": ObjectStore,
    "gs": ObjectStore,
    "abfss": ObjectStore,
    "hdfs": HadoopStore,
}


def store_of(place: Place) -> tuple[Store, str]:
    """The file system of the place, and its key there. InputError where the library for it is not installed."""
    if place.is_local:
        return _LOCAL, str(place.path.absolute())
    if place.schema is not None:
        raise InputError(
            f"{place}: a schema of a catalogue is only valid as --lake of jobs that run on Spark. Name the folder or "
            "URL of its tables"
        )
    scheme, _, rest = place.text.partition("://")
    host, _, key = rest.partition("/")
    return _remote(scheme, host), key


def check_served(place: Place) -> Place:
    """The place itself. InputError where the library for it is not installed; sends no request."""
    store_of(place)
    return place


def head(place: Place) -> Entry | None:
    """The file there; None where there is none."""
    store, key = store_of(place)
    return store.head(key)


def is_folder(place: Place) -> bool:
    """Whether anything lies below the place; on this machine, whether it is a folder."""
    if place.is_local:
        return place.path.is_dir()
    store, key = store_of(place)
    return next(iter(store.below(key)), None) is not None


def exists(place: Place) -> bool:
    """Whether a file or a folder is there."""
    return head(place) is not None or is_folder(place)


def read(place: Place, *, largest: int, advice: str = "Name another file") -> bytes:
    """All bytes of a regular file; InputError, with the advice, for one of more than `largest` bytes, or none."""
    if place.is_local:
        return read_bytes(place.path, largest=largest, advice=advice, error=InputError)
    store, key = store_of(place)
    found = store.head(key)
    if found is None:
        raise InputError(f"{place}: there is no such file. {advice}")
    if found.bytes > largest:
        raise InputError(f"{place}: {found.bytes} bytes, at most {largest} are read. {advice}")
    return store.read(key)


def write(place: Place, data: bytes | Path) -> None:
    """Create or replace the file atomically."""
    store, key = store_of(place)
    store.write(key, data)


def create(place: Place, data: bytes) -> None:
    """Create the file atomically; FileExistsError where there is one, so that one of two writers succeeds."""
    store, key = store_of(place)
    store.create(key, data)


def remove(place: Place) -> None:
    """Remove the file, if there is one."""
    store, key = store_of(place)
    store.remove([key])


def remove_all(places: Sequence[Place]) -> None:
    """Remove these files of one file system, with few requests where the store allows it."""
    if places:
        keys = [store_of(place) for place in places]
        keys[0][0].remove([key for _, key in keys])


def remove_folder(place: Place) -> None:
    """Remove the folder, if there is one, and everything below it."""
    store, key = store_of(place)
    store.remove_folder(key)


def below(place: Place, *, after: str | None = None) -> Iterator[tuple[str, Entry]]:
    """(name below the place, entry) of all files below it, by name; only names after `after`."""
    store, key = store_of(place)
    root = f"{key.rstrip('/')}/" if key else ""
    for entry in store.below(key, None if after is None else root + after):
        yield entry.key.removeprefix(root), entry


def inside(place: Place) -> tuple[list[str], list[str]]:
    """(names of the folders directly in the place, names of its files), ascending."""
    store, key = store_of(place)
    folders, files = store.inside(key)
    return [each.rstrip("/").rpartition("/")[2] for each in folders], [each.key.rpartition("/")[2] for each in files]


def bytes_below(place: Place) -> int:
    """The total size of all files below the place, in bytes."""
    return sum(entry.bytes for _, entry in below(place))


@cache
def _remote(scheme: str, host: str) -> Store:
    return _STORES[scheme](f"{scheme}://{host}")


_LOCAL = LocalStore()
