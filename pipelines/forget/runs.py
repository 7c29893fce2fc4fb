"""What training left: checkpoints, exports, figures, examples, pages. Small files are mended, others only named."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from pipelines.forget.holdings import Holding, Past
from pipelines.forget.scrub import mentions, scrubbed_text
from schemas.errors import InputError
from schemas.manifest import MANIFEST_FILE
from schemas.regular_file import read_bytes

_LARGEST = 1 << 28  # bytes of a file that is read whole
_TEXTS = (".json", ".jsonl", ".html", ".htm", ".txt", ".csv", ".tsv", ".log", ".md")
_STATE, _EXPORT = "state.json", "export.json"  # of a checkpoint and of an export
_NOT_OURS = ("_delta_log", MANIFEST_FILE)  # what a Delta table and a packed directory hold: not looked at here


def holdings_below(folder: Path, past: Past, packed: Mapping[str, Path]) -> Iterator[Holding]:
    """What below the folder holds forgotten users, or was trained on what did; what can be mended is.

    `packed`: packed directories that hold them, by the sha256 of their manifests as checkpoints were made from them.
    """
    for at, folders, names in os.walk(folder):
        if any(name in _NOT_OURS for name in (*folders, *names)):
            folders.clear()
            continue
        folders.sort()
        for name in sorted(names):
            path = Path(at) / name
            if path.is_symlink() or not path.is_file():
                continue
            if name in (_STATE, _EXPORT):
                yield from _trained(path, past, packed)
            elif path.suffix in _TEXTS:
                yield from _text(path, past)
            elif path.suffix in (".zip", ".parquet"):
                yield from _named(path, past)


def _trained(path: Path, past: Past, packed: Mapping[str, Path]) -> Iterator[Holding]:
    """A checkpoint or an export that was made of rows of theirs. Its own files hold weights, and no id."""
    found = _json(path)
    of = found.get("data") if path.name == _STATE else found
    of = of if isinstance(of, dict) else {}
    sha256, inputs, source = (
        (of.get("manifest_sha256"), of.get("inputs"), None)
        if path.name == _STATE
        else (of.get("data"), of.get("tables"), of.get("source"))
    )
    reason = past.made_before(source, inputs) if isinstance(inputs, dict) else None
    if isinstance(sha256, str) and sha256 in packed:
        reason = f"trained on {packed[sha256]}, which held forgotten users"
    if reason is not None:
        kind, again = ("checkpoint", "train again") if path.name == _STATE else ("export", "export a new checkpoint")
        yield Holding(path=str(path.parent), kind=kind, reason=f"{reason}: {again}")


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(read_bytes(path, largest=_LARGEST, error=InputError))
    except ValueError:  # InputError is one: too large, or no JSON
        return {}
    return found if isinstance(found, dict) else {}


def _text(path: Path, past: Past) -> Iterator[Holding]:
    kind = "page" if path.suffix in (".html", ".htm") else "file"
    try:
        text = read_bytes(path, largest=_LARGEST, error=InputError).decode("utf-8")
    except ValueError as error:
        yield Holding(path=str(path), kind=kind, reason=f"could not be looked into ({error})")
        return
    try:
        clean, count = scrubbed_text(path, text, past.who)
    except ValueError:
        clean, count = text, 0  # none of its kind: only looked at
    if count:
        partial = path.with_name(f".{path.name}.incomplete")
        partial.write_text(clean, encoding="utf-8")
        partial.replace(path)
        reason = f"held {count} records of forgotten users"
        yield Holding(path=str(path), kind=kind, reason=reason, done="written anew without them")
    if left := mentions(path, clean, past.who):
        yield Holding(path=str(path), kind=kind, reason=f"names {left} forgotten users: make it again, or remove it")


def _named(path: Path, past: Past) -> Iterator[Holding]:
    """Archives and Parquet are not written anew: something may hold their sums."""
    count = 0
    if path.suffix == ".parquet":
        file = pq.ParquetFile(path)
        if "user_id" in file.schema_arrow.names:
            users = {user for batch in file.iter_batches(columns=["user_id"]) for user in batch.column(0).to_pylist()}
            count = sum(past.who.anywhere(str(user)) for user in users if user is not None)
    elif zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            for entry in archive.infolist():
                if entry.file_size <= _LARGEST:
                    text = archive.read(entry).decode("utf-8", "replace")
                    count += mentions(Path(entry.filename), text, past.who)
    if count:
        yield Holding(path=str(path), kind="file", reason=f"names {count} forgotten users: make it again, or remove it")
