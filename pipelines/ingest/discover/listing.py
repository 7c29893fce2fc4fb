"""Lists the files below a folder of logs that match a glob: each folder once, folders of older logs not at all.

The folder may be local or in another storage: a Tree lists it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

from pipelines.compressed import shown
from schemas.errors import InputError
from schemas.storage.files import head, is_folder, store_of
from schemas.storage.paths import is_remote
from schemas.storage.place import Place

Parts = tuple[str, ...]  # the names that lead to a file or a folder from the folder of logs
Kind = Literal["file", "folder", "link"]  # link: to a folder

_ANY = "**"
_WILD = re.compile(r"[*?\[]")
_DIGITS = re.compile(r"([0-9]+)")


class Tree(Protocol):
    """The folders and files below a folder."""

    def names(self, parts: Parts) -> Iterable[tuple[str, Kind]]:
        """The names in a folder; none if there is no such folder or it may not be listed."""
        ...

    def kind(self, parts: Parts) -> Kind | None:
        """The kind of entry that these names lead to; None if there is nothing."""
        ...


class Listed(NamedTuple):
    """The files that match, in order, and the numbers of folders and files that were left out as older."""

    files: list[Parts]
    folders: int = 0  # that were not listed
    older: int = 0  # files of a listed folder that match the glob


@dataclass(frozen=True, slots=True)
class Since:
    """Where the newer logs begin: a file or a folder below the folder of logs, or the beginning of its name.

    Names that sort before it, folder by folder, are older. InputError for a text that is no such path.
    """

    text: str

    def __post_init__(self) -> None:
        if any(part in ("", ".", "..") for part in self.parts):
            raise InputError(
                f"logs_since is {self.text!r}: write a path below --logs, such as logs/2026-11-27 or dt=2026-11-27"
            )

    @property
    def parts(self) -> Parts:
        """Its names."""
        return tuple(self.text.removesuffix("/").split("/"))

    def check(self, patterns: Sequence[str]) -> None:
        """InputError if no file that matches one of these globs can lie there."""
        if not self.fits(patterns):
            raise InputError(
                f"logs_since is {self.text!r}, and logs are named {shown(patterns)}: write a path below --logs that "
                "fits these names"
            )

    def fits(self, patterns: Iterable[str]) -> bool:
        """Whether a file that matches one of these globs can lie there."""
        return any(self._fits(pattern.split("/")) for pattern in patterns)

    def is_older(self, parts: Parts) -> bool:
        """Whether these names, and so everything below them, sort before it.

        InputError if numbers of different widths decide it, such as 9 and 10: such names do not sort by date.
        """
        for name, ours in zip(parts, self.parts, strict=False):
            if name != ours:
                self._check_widths(name, ours, "/".join(parts))
                return name < ours
        return False

    def _fits(self, pattern: Sequence[str]) -> bool:
        *folders, last = self.parts
        for part, ours in zip(pattern, folders, strict=False):
            if part == _ANY:
                return True
            if not fnmatchcase(ours, part):
                return False
        if len(folders) >= len(pattern):
            return False
        part = pattern[len(folders)]
        start = _WILD.split(part)[0]
        begins = start != part and (last.startswith(start) or start.startswith(last))
        return begins or fnmatchcase(last, part)

    def _check_widths(self, name: str, ours: str, path: str) -> None:
        for one, other in zip(_DIGITS.split(name), _DIGITS.split(ours), strict=False):
            if one != other:
                if one.isdecimal() and other.isdecimal() and len(one) != len(other):
                    raise InputError(
                        f"logs_since is {self.text!r}, and there is {path}: numbers of {len(other)} and of {len(one)} "
                        "digits do not sort by date. Name folders and files with zeros in front, or leave it out"
                    )
                return


@dataclass(frozen=True, slots=True)
class LocalTree:
    """The Tree below a folder of this machine."""

    folder: Path

    def names(self, parts: Parts) -> Iterator[tuple[str, Kind]]:
        """See Tree."""
        try:
            with os.scandir(self.folder.joinpath(*parts)) as found:
                for each in found:
                    yield each.name, _kind(each)
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            return

    def kind(self, parts: Parts) -> Kind | None:
        """See Tree."""
        path = self.folder.joinpath(*parts)
        return _kind(path) if os.path.lexists(path) else None


def _kind(found: Path | os.DirEntry[str]) -> Kind:
    """A link that leads nowhere is a file: reading it reports the error."""
    try:
        if found.is_dir():
            return "link" if found.is_symlink() else "folder"
    except OSError:
        pass
    return "file"


@dataclass(frozen=True, slots=True)
class RemoteTree:
    """The Tree below a folder of another storage."""

    folder: Place

    def names(self, parts: Parts) -> Iterator[tuple[str, Kind]]:
        """See Tree."""
        store, key = store_of(self._at(parts))
        folders, files = store.inside(key)
        yield from ((name.rpartition("/")[2], "folder") for name in folders)
        yield from ((file.key.rpartition("/")[2], "file") for file in files)

    def kind(self, parts: Parts) -> Kind | None:
        """See Tree."""
        place = self._at(parts)
        return "file" if head(place) is not None else "folder" if is_folder(place) else None

    def _at(self, parts: Parts) -> Place:
        return self.folder / "/".join(parts) if parts else self.folder


def tree_of(folder: Path) -> Tree:
    """The Tree below the folder, local or remote."""
    return RemoteTree(Place.of(str(folder))) if is_remote(folder) else LocalTree(folder)


def list_matching(tree: Tree, patterns: Sequence[str], since: Since | None = None) -> Listed:
    """The files and folders that match one of the globs, without hidden names and those older than `since`.

    A glob's parts are names, names with * ? [ in them, or ** for any folders, as in pathlib; folders match too.
    """
    if since is not None:
        since.check(patterns)
    walk = _Walk(tree, since)
    walk.enter((), [_parts_of(pattern) for pattern in patterns])
    return Listed(sorted(walk.files), walk.folders, walk.older)


def _parts_of(pattern: str) -> Parts:
    parts = tuple(part for part in pattern.split("/") if part not in ("", "."))
    if not parts or pattern.startswith("/") or any(_ANY in part and part != _ANY for part in parts):
        raise InputError(f"files is {pattern!r}: write a glob below --logs, such as 2026/*.jsonl or **/*.json")
    return parts


class _Walk:
    """A walk through the folders that the globs lead to, and the files found there."""

    def __init__(self, tree: Tree, since: Since | None) -> None:
        self.files: list[Parts] = []
        self.folders = self.older = 0
        self._tree = tree
        self._since = since

    def enter(self, folder: Parts, patterns: list[Parts]) -> None:
        """Match the names in the folder with `patterns`, the remaining parts of the globs."""
        remaining = {*patterns}
        for pattern in patterns:
            while pattern[0] == _ANY and len(pattern) > 1:  # ** also stands for no folder
                remaining.add(pattern := pattern[1:])
        for name, kind in self._names(folder, {pattern[0] for pattern in remaining}):
            matched = [pattern for pattern in remaining if pattern[0] == _ANY or fnmatchcase(name, pattern[0])]
            further = {pattern if pattern[0] == _ANY else pattern[1:] for pattern in matched}
            found = any(pattern[0] != _ANY and len(pattern) == 1 for pattern in matched)
            if kind == "file":
                further = set()
            if kind == "link":
                further = {pattern[1:] for pattern in matched if pattern[0] != _ANY}
            further.discard(())
            if not is_hidden(name) and (found or further):
                self._add((*folder, name), found, sorted(further))

    def _names(self, folder: Parts, wanted: set[str]) -> Iterable[tuple[str, Kind]]:
        if any(_WILD.search(name) for name in wanted):
            return self._tree.names(folder)
        kinds = {name: self._tree.kind((*folder, name)) for name in wanted}
        return [(name, kind) for name, kind in kinds.items() if kind is not None]

    def _add(self, parts: Parts, found: bool, further: list[Parts]) -> None:
        if self._since is not None and self._since.is_older(parts):
            self.folders += bool(further)
            self.older += not further
            return
        if found:
            self.files.append(parts)
        if further:
            self.enter(parts, further)


def is_hidden(name: str) -> bool:
    """Whether collectors and Hadoop give this name to files still being written; no job reads such a file."""
    return name[0] in "._" or name.endswith("._COPYING_")
