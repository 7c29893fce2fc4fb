"""Files of any place as path objects, for code that opens, lists and stats as with pathlib."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from schemas.errors import InputError
from schemas.storage.files import check_served
from schemas.storage.objects import SCHEMES as OF_OBJECTS
from schemas.storage.place import Place

try:
    from obstore.fsspec import register
    from upath import UPath
    from upath.implementations.hdfs import HDFSPath
    from upath.registry import register_implementation
except ImportError as error:  # not needed where all data is on local disks
    MISSING: ImportError | None = error
else:
    MISSING = None
    register(list(OF_OBJECTS))

    class HadoopPath(HDFSPath):  # its base class prints the path alone
        """A path on HDFS that prints with its name node."""

        __slots__ = ()

        def __str__(self) -> str:
            if self._relative_base is not None:
                return str(super().__str__())
            host, port = self.storage_options.get("host"), self.storage_options.get("port")
            return f"hdfs://{host or ''}{f':{port}' if port else ''}{self.path}"

    register_implementation("hdfs", HadoopPath, clobber=True)


def path_of(place: Place | str | Path) -> Path:
    """The place as a path: pathlib's own, or one with its read methods whose `open` reads ranges of an object.

    InputError where the library for it is not installed.
    """
    place = check_served(Place.of(place))
    if place.is_local:
        return place.path
    if MISSING is not None:
        raise InputError(f"{place}: needs the Python packages obstore and universal-pathlib ({MISSING}). Install them")
    return cast(Path, UPath(place.text))


def text_of(path: Path) -> str:
    """The absolute path or the URL, from which `path_of` gives the same file, in another process too."""
    return str(path) if is_remote(path) else str(path.absolute())


def is_remote(path: Path) -> bool:
    """Whether the path is not on this machine's file system."""
    return not isinstance(path, Path)


def version_tag(path: Path) -> str | None:
    """A tag of a remote file that differs where its contents do; None where the storage reports none."""
    found: Any = path.stat()
    tag = found.as_info().get("e_tag")
    return None if tag is None else f"{found.st_size}-{tag}"
