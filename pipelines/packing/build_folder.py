"""Builds a packed directory out of sight and commits it with its manifest.

On this machine the files go to a hidden folder, which is renamed at the end. Behind a URL nothing can be renamed: each
run writes to its own folder `build-…` below the directory. The manifest names that folder; it is written last, and only
if none exists. So one of several runs wins, no other can win later, and the winner removes all other builds: those of
dead runs and of live runs that have lost. No clock and no lease decides what is dead.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from uuid import uuid4

from pipelines.packing.write import build_directory, existing_manifest, write_manifest
from schemas.errors import ContractError, InputError
from schemas.manifest import BUILD, LARGEST_MANIFEST, MANIFEST_FILE, Manifest
from schemas.storage import files
from schemas.storage.place import Place

_BUILD = re.compile(BUILD)
_OTHER = "Name another --out, or remove"


@dataclass(slots=True)
class Build:
    """A directory under construction: `folder` holds its files, `name` is the manifest's `build`."""

    out: Place
    folder: Place
    name: str = ""
    instead_of: Manifest | None = None  # the manifest behind a URL that this build replaces
    _put_tried: bool = field(default=False, init=False)  # the manifest may exist, even if the put reported an error

    def commit(self, manifest: Manifest) -> None:
        """Write the manifest and remove files that it does not list. InputError if another run has committed."""
        if self.out.is_local:
            write_manifest(self.folder.path, manifest)
            return
        _keep_listed(self.folder, manifest)
        self._put_tried = True
        try:
            self._put(manifest.to_json().encode())
        except FileExistsError as error:
            if _manifest_at(self.out).build != self.name:  # else it is ours: the answer to a first try was lost
                self._put_tried = False
                raise InputError(f"{self.out}: another run has packed here in the meantime. {_OTHER} it") from error
        remove_other_builds(self.out, manifest)

    def _put(self, manifest: bytes) -> None:
        if self.instead_of is None:
            files.create(self.out / MANIFEST_FILE, manifest)
        elif _manifest_at(self.out).build == self.instead_of.build:
            files.write(self.out / MANIFEST_FILE, manifest)
        else:
            raise FileExistsError(str(self.out))

    def drop(self) -> None:
        """Remove the folder, unless a manifest may name it."""
        if not self._put_tried:
            with suppress(OSError, InputError):  # the next run removes the rest
                files.remove_folder(self.folder)


@contextmanager
def open_build(out: Place, *, instead_of: Manifest | None = None) -> Iterator[Build]:
    """Inside, a directory to fill and commit; an error removes it.

    `instead_of`: the manifest at a URL that the commit replaces.
    """
    if out.is_local:
        with build_directory(out.path) as folder:
            yield Build(out, Place.of(folder))
        return
    name = new_build_name()
    made = Build(out, out / name, name, instead_of)
    try:
        yield made
    except BaseException:
        made.drop()
        raise


@contextmanager
def work_folder(folder: Place) -> Iterator[Place]:
    """Inside, a folder of the build for files that one task leaves for another."""
    work = folder / "work"
    if work.is_local:
        work.path.mkdir()
    try:
        yield work
    finally:
        with suppress(OSError, InputError):  # the commit removes the rest, before the manifest
            files.remove_folder(work)


def new_build_name() -> str:
    """A folder name that no other run uses."""
    return f"build-{uuid4().hex[:12]}"


def find_manifest(out: Place) -> Manifest | None:
    """The manifest of the packed directory at `out`; None if nothing is there. InputError for anything else.

    Builds without a manifest count as nothing: their runs have died, or are not done.
    """
    if out.is_local:
        return existing_manifest(out.path)
    if files.head(out / MANIFEST_FILE) is None:
        folders, found = files.inside(out)
        if _is_file(out) or [name for name in found if name] or not all(map(_BUILD.fullmatch, folders)):
            raise InputError(f"{out}: exists, and is not a packed directory. {_OTHER} it")
        return None
    manifest = _manifest_at(out)
    root = manifest.root(out)
    if name := _first_difference(manifest, dict(_sizes(root))):
        raise InputError(f"{root / name}: missing or changed since it was packed. Remove {out}, or name another --out")
    return manifest


def remove_other_builds(out: Place, manifest: Manifest) -> None:
    """Remove all builds but the manifest's own at a URL, and the files of that build which it does not list."""
    for name in other_builds(out, manifest):
        files.remove_folder(out / name)
    if manifest.build:
        _keep_listed(manifest.root(out), manifest)


def other_builds(out: Place, manifest: Manifest) -> list[str]:
    """The build folders at the manifest's URL whose runs have died or lost."""
    return [name for name in files.inside(out)[0] if _BUILD.fullmatch(name) and name != manifest.build]


def _manifest_at(out: Place) -> Manifest:
    file = out / MANIFEST_FILE
    try:
        return Manifest.from_json(files.read(file, largest=LARGEST_MANIFEST), str(file))
    except ContractError as error:
        raise InputError(
            f"{out}: its manifest is of another version of feedloop, or damaged ({error}). {_OTHER} it"
        ) from error


def _keep_listed(root: Place, manifest: Manifest) -> None:
    """Remove files that the manifest does not list (of failed task attempts). InputError if a listed file is gone."""
    listed, sizes = {entry.path for entry in manifest.files}, dict(_sizes(root))
    files.remove_all([root / name for name in sorted(sizes.keys() - listed)])
    if name := _first_difference(manifest, sizes):
        raise InputError(f"{root / name}: removed during packing. Run it again")


def _first_difference(manifest: Manifest, sizes: dict[str, int]) -> str | None:
    """The first listed file that is missing or has another size."""
    return next((entry.path for entry in manifest.files if sizes.get(entry.path) != entry.bytes), None)


def _sizes(root: Place) -> Iterator[tuple[str, int]]:
    return ((name, entry.bytes) for name, entry in files.below(root))


def _is_file(place: Place) -> bool:
    return bool(files.store_of(place)[1]) and files.head(place) is not None
