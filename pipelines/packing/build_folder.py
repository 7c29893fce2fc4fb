"""Building: where the files of a packed directory go until its manifest makes them one.

On this machine that is a hidden folder, renamed at the end. Behind a URL nothing can be renamed: each run writes to a
folder of its own below the directory, `build-…`, and the manifest, which names that folder, is put last and only where
none stands. Of two runs one wins. From then on no other can, so the winner removes all other builds, of dead runs and
of living ones that have lost: no clock and no lease decides what is dead.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from uuid import uuid4

from pipelines.packing.write import directory_at, existing_manifest, write_manifest
from schemas.errors import ContractError, InputError
from schemas.manifest import BUILD, LARGEST_MANIFEST, MANIFEST_FILE, Manifest
from schemas.storage import files
from schemas.storage.place import Place

_BUILD = re.compile(BUILD)
_OTHER = "Name another --out, or remove"


@dataclass(slots=True)
class Building:
    """A directory that is being made: `folder` takes its files, `name` is the manifest's `build`."""

    out: Place
    folder: Place
    name: str = ""
    instead_of: Manifest | None = None  # which stands there, behind a URL, until this one does
    _offered: bool = field(default=False, init=False)  # from then on the manifest may stand, whatever was answered

    def commit(self, manifest: Manifest) -> None:
        """The manifest stands and names all there is. InputError where another run's stands already."""
        if self.out.is_local:
            write_manifest(self.folder.path, manifest)
            return
        _keep_listed(self.folder, manifest)
        self._offered = True
        try:
            self._put(manifest.to_json().encode())
        except FileExistsError as error:
            if _manifest_at(self.out).build != self.name:  # else it is ours: the answer to a first try was lost
                self._offered = False
                raise InputError(f"{self.out}: another run has packed here meanwhile. {_OTHER} it") from error
        sweep(self.out, manifest)

    def _put(self, manifest: bytes) -> None:
        if self.instead_of is None:
            files.create(self.out / MANIFEST_FILE, manifest)
        elif _manifest_at(self.out).build == self.instead_of.build:
            files.write(self.out / MANIFEST_FILE, manifest)
        else:
            raise FileExistsError(str(self.out))

    def drop(self) -> None:
        """What was made is gone, unless a manifest may name it."""
        if not self._offered:
            with suppress(OSError, InputError):  # the next run removes what is left
                files.remove_folder(self.folder)


@contextmanager
def building(out: Place, *, instead_of: Manifest | None = None) -> Iterator[Building]:
    """Inside, a directory to be made and committed; after an error nothing of it is left.

    `instead_of`: the manifest that stands there, behind a URL, and is to be replaced.
    """
    if out.is_local:
        with directory_at(out.path) as folder:
            yield Building(out, Place.of(folder))
        return
    name = new_build()
    made = Building(out, out / name, name, instead_of)
    try:
        yield made
    except BaseException:
        made.drop()
        raise


@contextmanager
def work_folder(folder: Place) -> Iterator[Place]:
    """Inside, a folder of the directory that is being built, for files that one task leaves to another."""
    work = folder / "work"
    if work.is_local:
        work.path.mkdir()
    try:
        yield work
    finally:
        with suppress(OSError, InputError):  # what is left of it goes before the manifest comes
            files.remove_folder(work)


def new_build() -> str:
    """The name of a folder that no other run uses."""
    return f"build-{uuid4().hex[:12]}"


def existing(out: Place) -> Manifest | None:
    """The manifest of a directory that stands at `out`; None if nothing is there. InputError for anything else.

    Builds without a manifest are nothing: their runs have died, or are not done.
    """
    if out.is_local:
        return existing_manifest(out.path)
    if files.head(out / MANIFEST_FILE) is None:
        folders, found = files.inside(out)
        if _is_file(out) or [name for name in found if name] or not all(map(_BUILD.fullmatch, folders)):
            raise InputError(f"{out}: something stands here that is no packed directory. {_OTHER} it")
        return None
    manifest = _manifest_at(out)
    root = manifest.root(out)
    if gone := _differing(root, manifest, dict(_sizes(root))):
        raise InputError(f"{root / gone}: missing or changed since it was packed. Remove {out}, or name another --out")
    return manifest


def sweep(out: Place, manifest: Manifest) -> None:
    """Remove what other runs left at a URL where this manifest stands, and what its own run left unlisted."""
    for name in builds_beside(out, manifest):
        files.remove_folder(out / name)
    if manifest.build:
        _keep_listed(manifest.root(out), manifest)


def builds_beside(out: Place, manifest: Manifest) -> list[str]:
    """Folders of runs that have died or lost, at a URL where this manifest stands."""
    return [name for name in files.inside(out)[0] if _BUILD.fullmatch(name) and name != manifest.build]


def _manifest_at(out: Place) -> Manifest:
    file = out / MANIFEST_FILE
    try:
        return Manifest.from_json(files.read(file, largest=LARGEST_MANIFEST), str(file))
    except ContractError as error:
        raise InputError(
            f"{out}: what stands here is of another version of feedloop, or damaged ({error}). {_OTHER} it"
        ) from error


def _keep_listed(root: Place, manifest: Manifest) -> None:
    """Remove what the manifest does not list (of tasks' attempts that lost). InputError where it lists what is gone."""
    listed, sizes = {entry.path for entry in manifest.files}, dict(_sizes(root))
    files.remove_all([root / name for name in sorted(sizes.keys() - listed)])
    if gone := _differing(root, manifest, sizes):
        raise InputError(f"{root / gone}: gone while it was packed. Run it again")


def _differing(root: Place, manifest: Manifest, sizes: dict[str, int]) -> str | None:
    """A file that the manifest lists and that is not there in its size."""
    return next((entry.path for entry in manifest.files if sizes.get(entry.path) != entry.bytes), None)


def _sizes(root: Place) -> Iterator[tuple[str, int]]:
    return ((name, entry.bytes) for name, entry in files.below(root))


def _is_file(place: Place) -> bool:
    return bool(files.store_of(place)[1]) and files.head(place) is not None
