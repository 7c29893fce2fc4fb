"""An export behind a URL: made in a folder of this machine, then sent so that it is old, or new, and whole.

What `recommend` reads goes beside the place first, under the name by which a killed local replacement is found too;
then export.json leaves the place and comes back as the last file of the new export.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from schemas.embedding import EMBEDDINGS
from schemas.storage.copies import fetch, publish
from schemas.storage.files import below, head, inside, read, remove, remove_folder, write
from schemas.storage.place import Place
from schemas.storage.stand_in import temporary_stand_in
from trainer.serve.export_files import INDEX, LONGEST_RECORD, NEWS, RECORD, USER

_PREFIX = "feedloop-export-"
_BEGUN = ".export-begun"  # stands at the place while an export goes there: what lies beside it is no stranger's
_TRIES = 5  # of a reader, while another export takes the place


@contextmanager
def export_at(out: Place) -> Iterator[Path]:
    """Inside, the folder to export into, which holds the earlier export; afterwards the place holds what it holds."""
    if out.is_local:
        yield out.path
        return
    with temporary_stand_in(out, prefix=_PREFIX) as folder:
        _fetch_earlier(out, folder)
        before = _stamps(folder)
        yield folder
        after = _stamps(folder)
        if after != before:
            _send(folder, out, {name for name in after if before.get(name) == after[name]})


@contextmanager
def export_here(place: Place) -> Iterator[Path]:
    """Inside, a folder of this machine with what `recommend` reads of an export."""
    if place.is_local:
        yield place.path
        return
    with temporary_stand_in(place, prefix=_PREFIX) as folder:
        for _ in range(_TRIES):
            if _fetched_whole(place, folder):
                break
        yield folder


def _fetched_whole(place: Place, folder: Path) -> bool:
    """Fetch the files; whether they are of one export as far as can be told from here."""
    at = _standing(place)
    if at is None:
        return True
    record = read(at / RECORD, largest=LONGEST_RECORD)
    for name in (NEWS, INDEX, USER):
        try:
            if head(at / name) is not None:  # what is missing is told by who reads the record
                fetch(at / name, folder / name)
        except FileNotFoundError:
            return False
    folder.mkdir(exist_ok=True)
    (folder / RECORD).write_bytes(record)
    now = _standing(place)
    return now is not None and read(now / RECORD, largest=LONGEST_RECORD) == record


def _aside(place: Place) -> Place:
    return place.parent / f".{place.name}.replaced"


def _standing(place: Place) -> Place | None:
    return next((at for at in (place, _aside(place), place) if head(at / RECORD) is not None), None)


def _fetch_earlier(out: Place, folder: Path) -> None:
    """The earlier export, whose vectors need not be made again; of what is none, enough to be refused."""
    folders, files = inside(out)
    at = _standing(out)
    if at is None:
        if (folders or files) and _BEGUN not in files:
            folder.mkdir()
            (folder / "something").touch()
        return
    if at == out:
        fetch(out, folder, wanted=lambda name: name != _BEGUN)
        return
    fetch(at / RECORD, folder / RECORD)  # and no more, so that all but the vectors is made and sent again
    if EMBEDDINGS.name in folders:
        fetch(out / EMBEDDINGS.name, folder / EMBEDDINGS.name)


def _stamps(folder: Path) -> dict[str, tuple[int, int, int]]:
    found = {}
    for path in folder.rglob("*"):
        if path.is_file():
            told = path.stat()
            found[path.relative_to(folder).as_posix()] = (told.st_ino, told.st_size, told.st_mtime_ns)
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
