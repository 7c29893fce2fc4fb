"""Describes one Python process of Spark: its version, its packages and the sum of our code there.

This module is sent to executors by value, for they may lack our code: it imports the standard library and pyspark.
"""

from __future__ import annotations

import hashlib
import json
import platform
import socket
import zipfile
from collections.abc import Callable, Iterator
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

import pyspark

OUR_CODE = ("pipelines", "schemas")  # packages that run in tasks


def describe_process(packages: tuple[str, ...]) -> str:
    """JSON of host, Python's version, the packages' versions (null for a missing one), the code's sum or null."""
    return json.dumps(
        {
            "host": socket.gethostname(),
            "python": platform.python_version(),
            "packages": {"pyspark": pyspark.__version__} | {name: _version(name) for name in packages},
            "code": _sum_of_code(),
        }
    )


def process_describer(packages: tuple[str, ...]) -> Callable[[int], str]:
    """`describe_process` as a function of a frame's row."""
    return lambda _: describe_process(packages)


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _sum_of_code() -> str | None:
    """SHA-256 of the modules' names and texts, the same from a folder and a zip; None where a package is missing."""
    total = hashlib.sha256()
    for package in OUR_CODE:
        found = find_spec(package)
        if found is None or not found.submodule_search_locations:
            return None
        for name, text in sorted(_modules(Path(next(iter(found.submodule_search_locations))))):
            total.update(f"{package}/{name}\0{len(text)}\0".encode() + text)
    return total.hexdigest()


def _modules(folder: Path) -> Iterator[tuple[str, bytes]]:
    """(path below the package, text) of each module."""
    if folder.parent.is_file():  # the zip
        with zipfile.ZipFile(folder.parent) as archive:
            names = [n for n in archive.namelist() if n.startswith(f"{folder.name}/") and n.endswith(".py")]
            yield from ((name.partition("/")[2], archive.read(name)) for name in names)
        return
    yield from ((path.relative_to(folder).as_posix(), path.read_bytes()) for path in folder.rglob("*.py"))
