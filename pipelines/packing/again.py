"""A packed directory packed again in its place, by its own options, from what the lake holds now."""

from __future__ import annotations

import shutil
from dataclasses import fields
from pathlib import Path

from pipelines.packing.config import PackingConfig
from pipelines.packing.flow import pack
from pipelines.packing.write import existing_manifest
from pipelines.tables import Lake
from schemas.errors import InputError
from schemas.manifest import MANIFEST_FILE

_FRESH, _OLD = "again", "replaced"  # what stands beside the directory meanwhile


def pack_again(lake: Lake, out: Path) -> str | None:
    """Pack the directory anew; why not, where its options and the lake's trajectories do not allow it.

    Until the new one is complete the old one stands; a run that is killed between their names is mended by `put_back`.
    """
    out = out.absolute()
    before = existing_manifest(out)
    if before is None:
        return "nothing is packed there"
    names = {field.name for field in fields(PackingConfig)}
    fresh, old = _beside(out, _FRESH), _beside(out, _OLD)
    shutil.rmtree(fresh, ignore_errors=True)
    try:
        config = PackingConfig(**{name: value for name, value in before.config.items() if name in names})
        made = pack(lake, fresh, config)
    except InputError as error:
        return str(error)
    if made.config.get("trajectories") != before.config.get("trajectories"):
        shutil.rmtree(fresh, ignore_errors=True)
        return "the lake's trajectories have been built by other options since. Build them by its own, and pack again"
    shutil.rmtree(old, ignore_errors=True)
    out.rename(old)
    put_back(out)
    return None


def put_back(out: Path) -> None:
    """The directory has its name, whatever moment `pack_again` was stopped at."""
    out = out.absolute()
    fresh, old = _beside(out, _FRESH), _beside(out, _OLD)
    if not out.exists() and (fresh / MANIFEST_FILE).is_file():
        fresh.rename(out)
    elif not out.exists() and old.exists():
        old.rename(out)
    for folder in (fresh, old):
        shutil.rmtree(folder, ignore_errors=True)


def _beside(out: Path, what: str) -> Path:
    return out.with_name(f".{out.name}.{what}")
