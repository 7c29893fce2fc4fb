"""Small files and folders beside the tables: of this machine, or behind a URL by fsspec."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fsspec.core import url_to_fs

from schemas.errors import InputError


def is_url(path: str) -> bool:
    """Whether the path names another file system than this machine's."""
    return "://" in path and not path.startswith("file:/")


def write_text(path: str, text: str) -> None:
    """Make the file, and the folders above it. FileExistsError where there is one."""
    files, where = _at(path)
    files.makedirs(where.rpartition("/")[0], exist_ok=True)
    if files.exists(where):
        raise FileExistsError(path)
    files.pipe_file(where, text.encode())


def read_text(path: str) -> str | None:
    """The text of the file; None where there is none."""
    files, where = _at(path)
    return files.cat_file(where).decode() if files.isfile(where) else None


def remove_folder(path: str) -> None:
    """The folder and all in it are gone."""
    files, where = _at(path)
    if files.exists(where):
        files.rm(where, recursive=True)


def names_in(path: str) -> list[str]:
    """The names of the files in the folder itself, in order; none where there is no folder."""
    files, where = _at(path)
    found = files.ls(where, detail=True, refresh=True) if files.isdir(where) else []
    return sorted(str(each["name"]).rpartition("/")[2] for each in found if each["type"] == "file")


def remove_file(path: str) -> None:
    """The file is gone."""
    files, where = _at(path)
    files.rm_file(where)


def bytes_below(path: str) -> int:
    """Bytes of all files below the folder."""
    files, where = _at(path)
    return int(files.du(where)) if files.exists(where) else 0


def _at(path: str) -> tuple[Any, str]:
    """Its file system, and how the path is named there. InputError where no library serves its scheme."""
    here = path.removeprefix("file:") if path.startswith("file:/") else path
    try:
        files, where = url_to_fs(path if is_url(path) else f"file://{Path(here).absolute()}")
    except (ImportError, ValueError) as error:
        raise InputError(f"{path}: this kind of storage needs a library that is not installed ({error})") from error
    return files, where
