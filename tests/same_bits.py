"""One hash of a frame's rows to the last bit, for results that every engine must give."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from pyspark.sql import Row


def digest(rows: Iterable[Row]) -> str:
    """Of the rows in any order, columns by name; times in UTC."""
    texts = sorted(repr(_plain(row)) for row in rows)
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()[:16]


def _plain(value: Any) -> Any:
    if isinstance(value, Row):
        value = value.asDict()
    if isinstance(value, Mapping):
        return sorted((name, _plain(each)) for name, each in value.items())
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return value.astimezone(UTC).isoformat() if isinstance(value, datetime) else value
