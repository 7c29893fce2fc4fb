"""Finds packed directories that hold forgotten users, by their impressions and their input tables' versions."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Sequence

import pyarrow.parquet as pq

from pipelines.forget.holdings import Holding, Past
from schemas.errors import InputError
from schemas.manifest import BUILD, EVALUATION_FOLDER, LARGEST_MANIFEST, MANIFEST_FILE, Manifest
from schemas.storage.files import below, inside, read, remove_folder
from schemas.storage.paths import path_of
from schemas.storage.place import Place

KIND = "packed directory"
Repack = Callable[[Place], str | None]  # packs a directory again in its place; returns the reason where it cannot


def packed_in(folder: Place) -> list[Place]:
    """The packed directories below the folder, itself included."""
    names = [name for name, _ in below(folder) if name.rpartition("/")[2] == MANIFEST_FILE]
    return [(folder / name).parent for name in names if not any(part.startswith(".") for part in name.split("/"))]


def packed_below(folder: Place) -> list[Place]:
    """The folder, if it is a packed directory, or those below it. InputError where there is none."""
    found = packed_in(folder)
    if not found:
        raise InputError(f"--packed {folder}: no packed directory lies there. Name what ./feedloop pack has written")
    return found


def manifest_sums(folders: Sequence[Place]) -> dict[str, Place]:
    """The sha256 of each directory's manifest, by which checkpoints name their data."""
    return {hashlib.sha256(_manifest(folder)).hexdigest(): folder for folder in folders}


def holding_users(folders: Sequence[Place], past: Past, repack: Repack | None) -> Iterator[Holding]:
    """The packed directories that hold forgotten users, packed again where `repack` is given."""
    for folder in folders:
        yield from _leftover_builds(folder, remove=repack is not None)
        reason, ours = _reason(folder, past)
        if reason is None:
            continue
        if repack is None:
            yield Holding(path=str(folder), kind=KIND, reason=reason)
        elif not ours:
            why = f"{reason}; not packed again, for it is of another lake"
            yield Holding(path=str(folder), kind=KIND, reason=why)
        else:
            why_not = repack(folder)
            done, more = ("", f"; not packed again: {why_not}") if why_not else ("packed again", "")
            yield Holding(path=str(folder), kind=KIND, reason=reason + more, done=done)


def _leftover_builds(folder: Place, *, remove: bool) -> Iterator[Holding]:
    """Builds that stopped runs have left in a directory behind a URL; they may hold any user."""
    if folder.is_local:
        return
    manifest = _read(folder)
    for name in inside(folder)[0]:
        if name == manifest.build or not re.fullmatch(BUILD, name):
            continue
        if remove:
            remove_folder(folder / name)
        reason = "left by a run that was stopped, and may hold anyone"
        yield Holding(
            path=str(folder / name), kind=f"build of a {KIND}", reason=reason, done="removed" if remove else ""
        )


def _reason(folder: Place, past: Past) -> tuple[str | None, bool]:
    """Why the directory holds forgotten users (None: it does not), and whether it was packed from this lake."""
    manifest = _read(folder)
    ids = manifest.config.get("table_ids", {})
    ours = bool(ids) and all(ids.get(name) == id for name, id in past.table_ids.items())
    rows = 0
    for entry in manifest.files:
        if entry.path.startswith(f"{EVALUATION_FOLDER}/"):
            with path_of(manifest.root(folder) / entry.path).open("rb") as stream:
                users = pq.ParquetFile(stream).read(columns=["user_id"])["user_id"]
            rows += sum(digest is not None for digest in past.who.of_users(manifest.source, users.combine_chunks()))
    if rows:
        return f"holds {rows} impressions of forgotten users", ours
    return (past.made_before(manifest.source, manifest.inputs) if ours else None), ours


def _read(folder: Place) -> Manifest:
    return Manifest.from_json(_manifest(folder), str(folder / MANIFEST_FILE))


def _manifest(folder: Place) -> bytes:
    return read(folder / MANIFEST_FILE, largest=LARGEST_MANIFEST)
