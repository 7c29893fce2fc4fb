"""Where a text still stands below a folder: in values of Parquet files, inside archives, in the bytes of all else."""

from __future__ import annotations

import gzip
import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq


def traces(folder: Path, pattern: str) -> list[str]:
    """Paths below the folder of the files that hold what the pattern finds, in their names too."""
    found = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return [str(path.relative_to(folder)) for path in found if any(re.search(pattern, text) for text in texts_of(path))]


def texts_of(path: Path) -> Iterator[str]:
    """What stands in the file, as texts."""
    content = path.read_bytes()
    yield path.name
    yield content.decode("latin-1")
    yield content.decode("utf-8", "replace")
    if content[:2] == b"\x1f\x8b":
        yield gzip.decompress(content).decode("utf-8", "replace")
    if content[:4] == b"PAR1":
        table = pq.read_table(path, partitioning=None)
        for column in table.columns:
            yield json.dumps(column.to_pylist(), default=_plain, ensure_ascii=False)
        yield str(pq.read_metadata(path).to_dict())
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as packed:
            yield from (packed.read(name).decode("utf-8", "replace") for name in packed.namelist())


def _plain(value: object) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
