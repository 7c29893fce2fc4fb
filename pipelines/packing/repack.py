"""A packed directory packed again in its place, by its own options, from what the lake holds now."""

from __future__ import annotations

import shutil
from dataclasses import fields
from pathlib import Path

from pipelines.lake.tables import Lake
from pipelines.packing.build_folder import existing
from pipelines.packing.config import PackingConfig
from pipelines.packing.flow import pack
from schemas.errors import InputError
from schemas.manifest import MANIFEST_FILE
from schemas.storage.place import Place

_FRESH, _OLD = "again", "replaced"  # what stands beside the directory meanwhile


def pack_again(lake: Lake, out: Place | Path) -> str | None:
    """Pack the directory anew; why not, where its options and the lake's trajectories do not allow it.

    Until the new one is complete the old one stands. On this machine a run that is killed between their names is
    mended by `put_back`; behind a URL the manifest is replaced, and what it no longer names goes.
    """
    out = Place.of(out)
    before = existing(out)
    if before is None:
        return "nothing is packed there"
    names = {field.name for field in fields(PackingConfig)}
    fresh = Place.of(_beside(out.path.absolute(), _FRESH)) if out.is_local else out
    if out.is_local:
        shutil.rmtree(fresh.path, ignore_errors=True)
    try:
        config = PackingConfig(**{name: value for name, value in before.config.items() if name in names})
        pack(lake, fresh, config, instead_of=before)
    except InputError as error:
        return str(error)
    if out.is_local:
        path = out.path.absolute()
        shutil.rmtree(_beside(path, _OLD), ignore_errors=True)
        path.rename(_beside(path, _OLD))
        put_back(path)
    return None


def put_back(out: Place | Path) -> Place:
    """The directory, which has its name, whatever moment `pack_again` was stopped at."""
    place = Place.of(out)
    if not place.is_local:
        return place
    path = place.path.absolute()
    fresh, old = _beside(path, _FRESH), _beside(path, _OLD)
    if not path.exists() and (fresh / MANIFEST_FILE).is_file():
        fresh.rename(path)
    elif not path.exists() and old.exists():
        old.rename(path)
    for folder in (fresh, old):
        shutil.rmtree(folder, ignore_errors=True)
    return place


def _beside(out: Path, what: str) -> Path:
    return out.with_name(f".{out.name}.{what}")
