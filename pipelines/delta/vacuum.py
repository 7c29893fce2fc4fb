"""VACUUM: files that no version inside the retention holds leave a table's folder, those of killed writers too.

delta-rs knows two ways. One removes what the log names as taken out, and never what a writer left that was killed
before it committed. The other removes whatever the log does not name as a file of rows, and so also the deletion
vectors that Spark writes, without which a table cannot be read. So the second only tells what it would remove.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote

import pyarrow as pa

from pipelines.delta.log import opened
from schemas.storage.files import below, remove_all
from schemas.storage.place import Place

_VECTORS = ".bin"  # how names of deletion vectors end; they hold numbers of rows, and no value


def vacuum(path: str, *, hours: int | None = None, below_retention: bool = False) -> None:
    """Remove from the table what was taken out `hours` ago, by default the table's own retention, and what is as old
    and of no version. `below_retention`: also where that is less than the table's own retention.
    """
    how: dict[str, Any] = {"retention_hours": hours, "enforce_retention_duration": not below_retention}
    opened(path).vacuum(dry_run=False, **how)
    table, folder = opened(path), Place.of(path)
    candidates = set(table.vacuum(dry_run=True, full=True, **how))
    if not candidates:
        return
    held = {_plain(name) for name in pa.table(table.get_add_actions()).column("path").to_pylist()}
    there = (name for name, _ in below(folder) if name in candidates)
    # Of names beyond ASCII, which only Spark writes, delta-rs has a spelling of its own and finds none in the log.
    left = [name for name in there if name.isascii() and not name.endswith(_VECTORS) and _plain(name) not in held]
    remove_all([folder / name for name in left])


def _plain(name: str) -> str:
    """The name as no writer spells it: the libraries encode it once, twice, or not at all."""
    while (plain := unquote(name)) != name:
        name = plain
    return name
