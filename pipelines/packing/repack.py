"""Replaces a packed directory by one packed with the same options from the lake's present tables."""

from __future__ import annotations

import shutil
from dataclasses import fields
from pathlib import Path

from pipelines.lake.tables import Lake
from pipelines.packing.build_folder import find_manifest
from pipelines.packing.config import PackingConfig
from pipelines.packing.flow import pack
from schemas.errors import InputError
from schemas.manifest import MANIFEST_FILE
from schemas.storage.place import Place

_FRESH, _OLD = "again", "replaced"  # suffixes of the hidden folders next to the directory during the replacement


def repack(lake: Lake, out: Place | Path) -> str | None:
    """Pack the directory again; returns the reason if its options and the lake's trajectories do not allow it.

    The old directory stays until the new one is complete. On this machine `finish_repack` completes a run that was
    killed between the two renames; behind a URL the manifest is replaced, and files that it no longer names are
    removed.
    """
    out = Place.of(out)
    before = find_manifest(out)
    if before is None:
        return "nothing is packed there"
    names = {field.name for field in fields(PackingConfig)}
    fresh = Place.of(_sibling(out.path.absolute(), _FRESH)) if out.is_local else out
    if out.is_local:
        shutil.rmtree(fresh.path, ignore_errors=True)
    try:
        config = PackingConfig(**{name: value for name, value in before.config.items() if name in names})
        pack(lake, fresh, config, instead_of=before)
    except InputError as error:
        return str(error)
    if out.is_local:
        path = out.path.absolute()
        shutil.rmtree(_sibling(path, _OLD), ignore_errors=True)
        path.rename(_sibling(path, _OLD))
        finish_repack(path)
    return None


def finish_repack(out: Place | Path) -> Place:
    """The directory under its name, wherever `repack` was interrupted."""
    place = Place.of(out)
    if not place.is_local:
        return place
    path = place.path.absolute()
    fresh, old = _sibling(path, _FRESH), _sibling(path, _OLD)
    if not path.exists() and (fresh / MANIFEST_FILE).is_file():
        fresh.rename(path)
    elif not path.exists() and old.exists():
        old.rename(path)
    for folder in (fresh, old):
        shutil.rmtree(folder, ignore_errors=True)
    return place


def _sibling(out: Path, what: str) -> Path:
    return out.with_name(f".{out.name}.{what}")
