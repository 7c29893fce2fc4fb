"""Reads the contents of a packed URL."""

from __future__ import annotations

import re

from schemas.manifest import LARGEST_MANIFEST, MANIFEST_FILE, Manifest
from schemas.storage import files
from schemas.storage.place import Place


def manifest_at(out: Place) -> Manifest:
    """The manifest at the place."""
    return Manifest.from_json(files.read(out / MANIFEST_FILE, largest=LARGEST_MANIFEST), str(out))


def names_below(out: Place) -> list[str]:
    """All files below it."""
    return [name for name, _ in files.below(out)]


def sums(manifest: Manifest) -> dict[str, str]:
    """sha256 by name without the random part; Petastorm's metadata holds those names."""
    listed = (entry for entry in manifest.files if not entry.path.endswith("_common_metadata"))
    return {re.sub("-[0-9a-f]{32}", "", entry.path): entry.sha256 for entry in listed}


def no_leftovers(out: Place) -> bool:
    """Whether the place holds the manifest and what it lists, and no more."""
    manifest = manifest_at(out)
    listed = {f"{manifest.build}/{entry.path}" for entry in manifest.files} | {MANIFEST_FILE}
    return set(names_below(out)) == listed
