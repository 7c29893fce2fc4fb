"""Reading: the JSON files of a run, with what is no number taken out."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from schemas.errors import InputError


def json_file(path: Path) -> Any:
    """The file's value; InputError, by name, where it is none. NaN and the infinities become None."""
    return _parsed(path.read_text("utf-8"), str(path))


def json_lines(path: Path) -> list[dict[str, Any]]:
    """The values of a file of JSON lines; a last line that was cut short by a kill is left out."""
    lines = path.read_text("utf-8").split("\n")
    return [_parsed(line, f"{path}, line {number}") for number, line in enumerate(lines[:-1], start=1) if line]


def _parsed(text: str, where: str) -> Any:
    try:
        return finite(json.loads(text))
    except ValueError as error:
        raise InputError(f"{where}: no JSON ({error}). Remove it, or let the job that made it make it again") from error


def finite(value: Any) -> Any:
    """The value with None for every number that JSON cannot hold."""
    if isinstance(value, dict):
        return {name: finite(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
