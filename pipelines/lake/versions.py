"""Records which table versions a job read and wrote, in files next to the tables, and reads them for `--as-of`."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pipelines.delta.log import history, is_table
from schemas.errors import InputError
from schemas.storage.files import create, head, read
from schemas.storage.place import Place
from schemas.strict_json import Count, ShortText, decoded
from schemas.table import Table

FOLDER = "_versions"  # below the lake
_LARGEST = 1 << 20  # bytes of a report
_ADVICE = f"Name a JSON file that a job wrote below {FOLDER}/ of the lake, or a time such as 2026-03-02T09:00:00Z"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Report:
    """What a job wrote below _versions; its file may hold more."""

    job: ShortText
    inputs: dict[str, Count]
    outputs: dict[str, Count]


def write_report(root: str, report: Mapping[str, Any]) -> str:
    """Write the report as a JSON file below the lake, named for the job and this moment; returns its path."""
    moment = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    path = f"{root}/{FOLDER}/{report['job']}/{moment}.json"
    create(Place.of(path), (json.dumps(report, sort_keys=True) + "\n").encode())
    return path


def read_report(path: str) -> dict[str, int]:
    """The table versions in a report: what its job wrote, else what it read."""
    where = f"--as-of {path}"
    text = _text(path)
    if text is None:
        raise InputError(f"{where}: there is no such file, and this is no time. {_ADVICE}")
    what = f"{where}: this is no file of table versions"
    report = decoded(text, _Report, what, advice=_ADVICE, error=InputError, unknown="ignored")
    return {**report.inputs, **report.outputs}


def _text(path: str) -> str | bytes | None:
    """The content of the file, on this machine or behind a URL; None where there is none."""
    if not path:
        return None
    place = Place.of(path)
    there = os.path.lexists(place.path) if place.is_local else head(place) is not None
    return read(place, largest=_LARGEST, advice=_ADVICE) if there else None


def moment_of(text: str) -> datetime | None:
    """The text as a moment (UTC unless it names its zone); None where it is no ISO time."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def versions_at(root: str, tables: Iterable[Table], moment: datetime) -> dict[str, int]:
    """The version that each table had at that moment; tables that did not exist yet are left out."""
    found = {table.name: _version_at(f"{root}/{table.name}", moment) for table in tables}
    return {name: version for name, version in found.items() if version is not None}


def _version_at(path: str, moment: datetime) -> int | None:
    if not is_table(path):
        return None
    made = (commit for commit in history(path) if commit["timestamp"] <= moment.timestamp() * 1000)
    return max((commit["version"] for commit in made), default=None)
