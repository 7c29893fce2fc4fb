"""Resolves a lake's root, a local folder or a URL, and rejects an unusable one before anything is written."""

from __future__ import annotations

import re
from pathlib import Path

from schemas.delta_uri import table_uri
from schemas.errors import InputError
from schemas.storage.files import check_served
from schemas.storage.place import Place, lake_place

_ODD = re.compile(r"[^\w./:@=+~-]", re.ASCII)


def lake_root(named: str | Path | Place) -> str:
    """The absolute path, or the URL. InputError where a lake cannot be there."""
    place = check_served(lake_place(named))
    root = str(place.path.resolve()) if place.is_local else place.text
    if place.is_local and place.path.exists() and not place.path.is_dir():
        raise InputError(f"{named}: the lake must be a folder, and this is a file. Name another place")
    if not place.is_local and (found := _ODD.search(root.partition("://")[2])):
        raise InputError(
            f"{named}: the embedded engine, delta-rs and Spark do not read {found[0]!r} of a URL alike. Name a lake "
            "without it: letters, digits and . _ - = + ~ are safe"
        )
    if "`" in root:
        raise InputError(f"{named}: Delta makes no table below a name with a backtick. Name another place")
    table_uri(root)
    return root
