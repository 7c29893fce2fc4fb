"""What one Python process of Spark is made of: its version, its packages, our code there.

The file travels to executors by its text, for they may lack our code: it imports the standard library and pyspark.
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

OUR_CODE = ("pipelines", "schemas")  # what runs in tasks


def probed(packages: tuple[str, ...]) -> str:
    """JSON of host, Python's version, the packages' versions (null where there is none), the code's sum or null."""
    return json.dumps(
        {
            "host": socket.gethostname(),
            "python": platform.python_version(),
            "packages": {"pyspark": pyspark.__version__} | {name: _version(name) for name in packages},
            "code": _sum_of_code(),
        }
    )


def asker(packages: tuple[str, ...]) -> Callable[[int], str]:
    """`probed` for a row of a frame."""
    return lambda _: probed(packages)


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _sum_of_code() -> str | None:
    """SHA-256 of the modules' names and texts, the same from a folder and from a zip; None where they are not there."""
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
