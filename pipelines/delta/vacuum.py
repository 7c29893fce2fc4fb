"""VACUUM: removes a table's files that no version inside the retention holds, including those of killed writers.

delta-rs has two modes. One removes files that the log names as removed, but not those of a writer that was killed
before its commit. The other removes every file that the log does not name as a file of rows, and so also the deletion
vectors that Spark writes, without which a table cannot be read. So the second runs dry and only lists its candidates.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote

import pyarrow as pa

from pipelines.delta.log import open_table
from schemas.storage.files import below, remove_all
from schemas.storage.place import Place

_VECTORS = ".bin"  # how names of deletion vectors end; they hold numbers of rows, and no value


def vacuum(path: str, *, hours: int | None = None, below_retention: bool = False) -> None:
    """Remove files that left the table at least `hours` ago, by default the table's own retention, and files as old
    that belong to no version. `below_retention`: allow fewer hours than the table's own retention.
    """
    how: dict[str, Any] = {"retention_hours": hours, "enforce_retention_duration": not below_retention}
    open_table(path).vacuum(dry_run=False, **how)
    table, folder = open_table(path), Place.of(path)
    candidates = set(table.vacuum(dry_run=True, full=True, **how))
    if not candidates:
        return
    held = {_decoded(name) for name in pa.table(table.get_add_actions()).column("path").to_pylist()}
    there = (name for name, _ in below(folder) if name in candidates)
    # delta-rs spells names beyond ASCII, which only Spark writes, in its own way and does not find them in the log.
    left = [name for name in there if name.isascii() and not name.endswith(_VECTORS) and _decoded(name) not in held]
    remove_all([folder / name for name in left])


def _decoded(name: str) -> str:
    """The name without any encoding: the libraries encode it once, twice, or not at all."""
    while (plain := unquote(name)) != name:
        name = plain
    return name
