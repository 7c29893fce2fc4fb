"""Packed directories that hold forgotten users: found by their impressions, and by the versions they came from."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pyarrow.parquet as pq

from pipelines.forget.holdings import Holding, Past
from schemas.errors import InputError
from schemas.manifest import EVALUATION_FOLDER, LARGEST_MANIFEST, MANIFEST_FILE, Manifest
from schemas.regular_file import read_bytes

KIND = "packed directory"
Again = Callable[[Path], str | None]  # packs a directory anew in its place; why not, where it did not


def packed_in(folder: Path) -> list[Path]:
    """The packed directories below the folder, itself included."""
    return [file.parent for file in sorted(folder.rglob(MANIFEST_FILE)) if not _hidden(file, folder)]


def packed_below(folder: Path) -> list[Path]:
    """The folder, if it is a packed directory, or those below it. InputError where there is none."""
    found = packed_in(folder)
    if not found:
        raise InputError(f"--packed {folder}: no packed directory lies there. Name what ./feedloop pack has written")
    return found


def manifest_sums(folders: Sequence[Path]) -> dict[str, Path]:
    """The sha256 of each directory's manifest, by which checkpoints name their data."""
    return {hashlib.sha256(_manifest(folder)).hexdigest(): folder for folder in folders}


def holding_users(folders: Sequence[Path], past: Past, again: Again | None) -> Iterator[Holding]:
    """Those of the packed directories that hold forgotten users, packed again where `again` is given."""
    for folder in folders:
        reason, ours = _reason(folder, past)
        if reason is None:
            continue
        if again is None:
            yield Holding(path=str(folder), kind=KIND, reason=reason)
        elif not ours:
            why = f"{reason}; not packed again, for it is of another lake"
            yield Holding(path=str(folder), kind=KIND, reason=why)
        else:
            why_not = again(folder)
            done, more = ("", f"; not packed again: {why_not}") if why_not else ("packed again", "")
            yield Holding(path=str(folder), kind=KIND, reason=reason + more, done=done)


def _reason(folder: Path, past: Past) -> tuple[str | None, bool]:
    """Why the directory holds them, and whether it was packed from this lake."""
    manifest = Manifest.from_json(_manifest(folder), str(folder / MANIFEST_FILE))
    ids = manifest.config.get("table_ids", {})
    ours = bool(ids) and all(ids.get(name) == id for name, id in past.table_ids.items())
    rows = 0
    for entry in manifest.files:
        if entry.path.startswith(f"{EVALUATION_FOLDER}/"):
            users = pq.read_table(folder / entry.path, columns=["user_id"], partitioning=None)["user_id"]
            rows += sum(digest is not None for digest in past.who.of_users(manifest.source, users.combine_chunks()))
    if rows:
        return f"holds {rows} impressions of forgotten users", ours
    return (past.made_before(manifest.source, manifest.inputs) if ours else None), ours


def _manifest(folder: Path) -> bytes:
    return read_bytes(folder / MANIFEST_FILE, largest=LARGEST_MANIFEST)


def _hidden(file: Path, folder: Path) -> bool:
    return any(part.startswith(".") for part in file.relative_to(folder).parts)
