"""Exports to a place behind a URL through a local folder, so that the place always has a complete export.

First the files that `recommend` reads are copied next to the place, under the name that a local replacement uses too.
Then export.json is removed from the place and written again as the last file of the new export.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from schemas.embedding import EMBEDDINGS
from schemas.storage.copies import fetch, publish
from schemas.storage.files import below, head, inside, read, remove, remove_folder, write
from schemas.storage.place import Place
from schemas.storage.stand_in import standing_in
from trainer.serve.export_files import INDEX, LONGEST_RECORD, NEWS, RECORD, USER

_PREFIX = "feedloop-export-"
_BEGUN = ".export-begun"  # marks a place to which an export is being sent: its other files belong to that export
_TRIES = 5  # of a reader, while another export is sent


@contextmanager
def export_at(out: Place) -> Iterator[Path]:
    """Inside, a local folder to export into, which starts with the earlier export; it is sent to `out` at the end."""
    if out.is_local:
        yield out.path
        return
    with standing_in(out, prefix=_PREFIX) as folder:
        _fetch_earlier(out, folder)
        before = _stamps(folder)
        yield folder
        after = _stamps(folder)
        if after != before:
            _send(folder, out, {name for name in after if before.get(name) == after[name]})


@contextmanager
def local_export(place: Place) -> Iterator[Path]:
    """Inside, a local folder with the files of an export that `recommend` reads."""
    if place.is_local:
        yield place.path
        return
    with standing_in(place, prefix=_PREFIX) as folder:
        for _ in range(_TRIES):
            if _fetched_one(place, folder):
                break
        yield folder


def _fetched_one(place: Place, folder: Path) -> bool:
    """Fetches the files; True if the record did not change meanwhile, so that they are of one export."""
    at = _current(place)
    if at is None:
        return True
    record = read(at / RECORD, largest=LONGEST_RECORD)
    for name in (NEWS, INDEX, USER):
        try:
            if head(at / name) is not None:  # Export.open reports missing files
                fetch(at / name, folder / name)
        except FileNotFoundError:
            return False
    folder.mkdir(exist_ok=True)
    (folder / RECORD).write_bytes(record)
    now = _current(place)
    return now is not None and read(now / RECORD, largest=LONGEST_RECORD) == record


def _aside(place: Place) -> Place:
    return place.parent / f".{place.name}.replaced"


def _current(place: Place) -> Place | None:
    return next((at for at in (place, _aside(place), place) if head(at / RECORD) is not None), None)


def _fetch_earlier(out: Place, folder: Path) -> None:
    """Fetches the earlier export, whose vectors are reused. If the place holds other files, leaves one, so that the
    export raises an error."""
    folders, files = inside(out)
    at = _current(out)
    if at is None:
        if (folders or files) and _BEGUN not in files:
            folder.mkdir()
            (folder / "something").touch()
        return
    if at == out:
        fetch(out, folder, wanted=lambda name: name != _BEGUN)
        return
    fetch(at / RECORD, folder / RECORD)  # the record alone, so that all but the vectors is made and sent again
    if EMBEDDINGS.name in folders:
        fetch(out / EMBEDDINGS.name, folder / EMBEDDINGS.name)


def _stamps(folder: Path) -> dict[str, tuple[int, int, int]]:
    found = {}
    for path in folder.rglob("*"):
        if path.is_file():
            stat = path.stat()
            found[path.relative_to(folder).as_posix()] = (stat.st_ino, stat.st_size, stat.st_mtime_ns)
    return found


def _send(folder: Path, out: Place, unchanged: set[str]) -> None:
    if head(out / RECORD) is not None:
        for name in (NEWS, INDEX, USER, RECORD):
            write(_aside(out) / name, folder / name)
        remove(out / RECORD)
    write(out / _BEGUN, b"")
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    commits = sorted(name for name in names if name.startswith(f"{EMBEDDINGS.name}/_delta_log/"))
    publish(folder, out, last=[*commits, RECORD], wanted=lambda name: name not in unchanged)
    for name, _ in list(below(out)):
        if name not in names:
            remove(out / name)
    remove_folder(_aside(out))
