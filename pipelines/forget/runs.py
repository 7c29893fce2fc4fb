"""Finds forgotten users in training's outputs (checkpoints, exports, figures, pages), and cleans the small files."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow.parquet as pq

from pipelines.forget.holdings import Holding, Past
from pipelines.forget.scrub import mentions, scrubbed_text
from schemas.manifest import MANIFEST_FILE
from schemas.storage.files import below, read, write
from schemas.storage.paths import path_of
from schemas.storage.place import Place

_LARGEST = 1 << 28  # bytes of a file that is read into memory
_TEXTS = (".json", ".jsonl", ".html", ".htm", ".txt", ".csv", ".tsv", ".log", ".md")
_STATE, _EXPORT = "state.json", "export.json"  # of a checkpoint and of an export
_NOT_OURS = ("_delta_log", MANIFEST_FILE)  # mark a Delta table and a packed directory, which are skipped here


def holdings_below(folder: Place | Path, past: Past, packed: Mapping[str, object]) -> Iterator[Holding]:
    """What below the folder holds forgotten users or was trained on their rows. Small files are cleaned.

    `packed`: packed directories that hold them, by the sha256 of the manifests, which checkpoints name.
    """
    for place in _files(Place.of(folder)):
        suffix = Path(place.name).suffix
        if place.name in (_STATE, _EXPORT):
            yield from _check_trained(place, past, packed)
        elif suffix in _TEXTS:
            yield from _check_text(place, past)
        elif suffix in (".zip", ".parquet"):
            yield from _check_archive(place, past)


def _files(folder: Place) -> Iterator[Place]:
    names = [name for name, _ in below(folder)]
    others = set()
    for name in names:
        parts = PurePosixPath(name).parts
        others |= {parts[:at] for at, part in enumerate(parts) if part in _NOT_OURS}
    for name in names:
        place, parts = folder / name, PurePosixPath(name).parts
        link = place.is_local and place.path.is_symlink()
        if not link and not any(parts[:at] in others for at in range(len(parts))):
            yield place


def _check_trained(place: Place, past: Past, packed: Mapping[str, object]) -> Iterator[Holding]:
    """A checkpoint or an export that was made of their rows. Its own files hold weights and no ids."""
    found = _json(place)
    of = found.get("data") if place.name == _STATE else found
    of = of if isinstance(of, dict) else {}
    sha256, inputs, source = (
        (of.get("manifest_sha256"), of.get("inputs"), None)
        if place.name == _STATE
        else (of.get("data"), of.get("tables"), of.get("source"))
    )
    reason = past.made_before(source, inputs) if isinstance(inputs, dict) else None
    if isinstance(sha256, str) and sha256 in packed:
        reason = f"trained on {packed[sha256]}, which held forgotten users"
    if reason is not None:
        kind, again = ("checkpoint", "train again") if place.name == _STATE else ("export", "export a new checkpoint")
        yield Holding(path=str(place.parent), kind=kind, reason=f"{reason}: {again}")


def _json(place: Place) -> dict[str, Any]:
    try:
        found = json.loads(read(place, largest=_LARGEST))
    except ValueError:  # InputError is one: too large, or no JSON
        return {}
    return found if isinstance(found, dict) else {}


def _check_text(place: Place, past: Past) -> Iterator[Holding]:
    path = Path(place.name)
    kind = "page" if path.suffix in (".html", ".htm") else "file"
    try:
        text = read(place, largest=_LARGEST).decode("utf-8")
    except ValueError as error:
        yield Holding(path=str(place), kind=kind, reason=f"could not be looked into ({error})")
        return
    try:
        clean, count = scrubbed_text(path, text, past.who)
    except ValueError:
        clean, count = text, 0  # not in the format of its suffix: only searched
    if count:
        write(place, clean.encode())
        reason = f"held {count} records of forgotten users"
        yield Holding(path=str(place), kind=kind, reason=reason, done="written anew without them")
    if left := mentions(path, clean, past.who):
        yield Holding(path=str(place), kind=kind, reason=f"names {left} forgotten users: make it again, or remove it")


def _check_archive(place: Place, past: Past) -> Iterator[Holding]:
    """Search archives and Parquet files. They are not rewritten: something may hold their sums."""
    count = 0
    with path_of(place).open("rb") as stream:
        if place.name.endswith(".parquet"):
            file = pq.ParquetFile(stream)
            if "user_id" in file.schema_arrow.names:
                batches = file.iter_batches(columns=["user_id"])
                users = {user for batch in batches for user in batch.column(0).to_pylist()}
                count = sum(past.who.anywhere(str(user)) for user in users if user is not None)
        elif zipfile.is_zipfile(stream):
            with zipfile.ZipFile(stream) as archive:
                for entry in archive.infolist():
                    if entry.file_size <= _LARGEST:
                        text = archive.read(entry).decode("utf-8", "replace")
                        count += mentions(Path(entry.filename), text, past.who)
    if count:
        reason = f"names {count} forgotten users: make it again, or remove it"
        yield Holding(path=str(place), kind="file", reason=reason)
