"""Reads the JSON files of a run and validates them against the page's contracts."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from schemas.errors import InputError
from schemas.regular_file import read_bytes
from schemas.storage.copies import fetch
from schemas.storage.files import head, inside
from schemas.storage.place import Place
from schemas.storage.stand_in import temporary_stand_in
from schemas.strict_json import converted, json_lines, json_value

SUMMARY = "summary.json"  # next to a run
LARGEST = 1 << 28  # bytes of a file
_ADVICE = "Remove it, or run the job that made it again"


@contextmanager
def local_run(run: Place) -> Iterator[Path]:
    """Provide a local folder with the JSON files of a run: the run's own folder, or a temporary copy from a URL.

    The summary of the folder above is copied next to it.
    """
    if run.is_local:
        yield run.path
        return
    with temporary_stand_in(run, prefix="feedloop-page-") as folder:
        for name in inside(run)[1]:
            if name.endswith((".json", ".jsonl")):
                fetch(run / name, folder / name)
        if head(run.parent / SUMMARY) is not None:
            fetch(run.parent / SUMMARY, folder.with_name(SUMMARY))
        yield folder


def json_file(path: Path, *kinds: Any) -> Any:
    """The file's value. InputError names the file and the position unless the value fits each of the kinds."""
    value = json_value(_text(path), str(path), advice=_ADVICE, error=InputError)
    check(value, str(path), *kinds)
    return value


def lines_file(path: Path, *kinds: Any) -> list[dict[str, Any]]:
    """The values of a JSON lines file, validated for each of the kinds. A truncated last line is left out."""
    values = json_lines(_text(path), str(path), advice=_ADVICE, error=InputError)
    for number, value in enumerate(values, start=1):
        check(value, f"{path}, line {number}", *kinds)
    return values


def check(value: Any, where: str, *kinds: Any) -> None:
    """InputError, with the position, unless the value fits each of the kinds."""
    for kind in kinds:
        converted(value, kind, where, advice=_ADVICE, error=InputError, unknown="ignored")


def name_exists(path: Path) -> bool:
    """Whether the name exists, even as a file that cannot be read."""
    return os.path.lexists(path)


def _text(path: Path) -> bytes:
    return read_bytes(path, largest=LARGEST, advice=_ADVICE, error=InputError)
