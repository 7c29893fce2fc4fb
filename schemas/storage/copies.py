"""Copies files between any place and this machine: fetched before they are read, published after they are made."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from schemas.errors import InputError
from schemas.storage.files import below, head, store_of, write
from schemas.storage.place import Place

_AT_ONCE = 8  # files copied at the same time


@contextmanager
def fetched(place: Place, *, wanted: Callable[[str], bool] | None = None) -> Iterator[Path]:
    """Inside, a local path with the file, or with all files below the folder whose names are `wanted`.

    A local place is its own path. InputError where nothing is there.
    """
    if place.is_local:
        yield place.path
        return
    with tempfile.TemporaryDirectory(prefix="feedloop-fetched-") as folder:
        to = Path(folder) / (place.name or "root")
        fetch(place, to, wanted=wanted)
        yield to


def fetch(place: Place, to: Path, *, wanted: Callable[[str], bool] | None = None) -> None:
    """Copy the file, or all files below the folder whose names are `wanted`, to a local path.

    InputError where nothing is there.
    """
    store, key = store_of(place)
    if key and head(place) is not None:
        store.fetch(key, to)
        return
    names = [name for name, _ in below(place)]
    if not names:
        raise InputError(f"{place}: there is no such file or folder")
    names = [name for name in names if wanted is None or wanted(name)]
    for name in names:
        if ".." in PurePosixPath(name).parts or PurePosixPath(name).is_absolute():
            raise InputError(f"{place}: holds a file named {name[:80]!r}, whose copy would lie outside of the folder")
    to.mkdir(parents=True, exist_ok=True)
    _each(lambda name: store.fetch(store_of(place / name)[1], to / name), names)


@contextmanager
def published(place: Place, *, last: Sequence[str] = ()) -> Iterator[Path]:
    """Inside, a local path where to make a file or a folder; afterwards, unless it failed, it is copied to the place.

    A local place is its own path. `last`: names below the folder that are copied after all others, in this order, so
    that a reader who finds them finds all.
    """
    if place.is_local:
        yield place.path
        return
    store_of(place)
    with tempfile.TemporaryDirectory(prefix="feedloop-published-") as folder:
        at = Path(folder) / place.name
        yield at
        if at.exists():
            publish(at, place, last=last)


@contextmanager
def published_with_siblings(place: Place) -> Iterator[Path]:
    """As `published`, of a file and of all files made in its folder, which are copied before it."""
    if place.is_local:
        yield place.path
        return
    store_of(place)
    with tempfile.TemporaryDirectory(prefix="feedloop-published-") as folder:
        yield Path(folder) / place.name
        publish(Path(folder), place.parent, last=[place.name])


def publish(made: Path, place: Place, *, last: Sequence[str] = (), wanted: Callable[[str], bool] | None = None) -> None:
    """Copy the file, or all `wanted` files below the folder, to the place; those in `last` come last, in order."""
    if made.is_file():
        write(place, made)
        return
    names = sorted(file.relative_to(made).as_posix() for file in made.rglob("*") if file.is_file())
    names = [name for name in names if wanted is None or wanted(name)]
    _each(lambda name: write(place / name, made / name), [name for name in names if name not in last])
    for name in last:
        if name in names:
            write(place / name, made / name)


def _each(do: Callable[[str], None], names: Iterable[str]) -> None:
    with ThreadPoolExecutor(_AT_ONCE) as threads:
        for done in [threads.submit(do, name) for name in names]:
            done.result()
