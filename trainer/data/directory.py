"""Opens a packed directory of jobs.pack, local or behind a URL, and trusts only files that the manifest lists."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
from numpy.typing import NDArray

from schemas.errors import ContractError, InputError
from schemas.item_use import DTYPES as USE_DTYPES
from schemas.item_use import ITEM_USE_FOLDER, ItemUse, use_file
from schemas.manifest import BATCH_FOLDER, EVALUATION_FOLDER, MANIFEST_FILE, Manifest, Superblock
from schemas.news import FIELDS
from schemas.storage.files import head
from schemas.storage.place import Place
from schemas.token_table import ARRAYS, TOKEN_FOLDER, TokenTable, file_of
from trainer.data.cache import Cache, CacheConfig
from trainer.data.cells import mapped
from trainer.data.evaluation import read_evaluation
from trainer.data.files import AGAIN, Files, LocalFiles, Verify, local_manifest
from trainer.data.stored_files import StoredFiles, stored_manifest

Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Packed:
    """The place of a packed directory, the cache that this machine uses for it, and what is verified on opening."""

    place: Place
    cache: CacheConfig = field(default_factory=CacheConfig)
    verify: Verify = "sizes"

    @classmethod
    def of(cls, named: Packed | Place | Path, cache: CacheConfig | None = None) -> Packed:
        """Converts a place or path, as jobs are given it."""
        return named if isinstance(named, Packed) else cls(Place.of(named), cache or CacheConfig())


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadConfig(CacheConfig):
    """How a job reads a packed directory."""

    verify: Verify = "sizes"  # Sums of --data to check first: of a few files, a tenth, or all (full); others when read

    def packed(self, place: Place) -> Packed:
        """The directory at the place, read in this way."""
        return Packed(Place.of(place), self, self.verify)


@dataclass(frozen=True, slots=True)
class PackedDirectory:
    """An immutable packed directory. Sizes are verified when it is opened, and every sum when its bytes are read."""

    place: Place
    manifest: Manifest
    manifest_sha256: str
    superblocks: tuple[tuple[str, int, Superblock], ...]  # (path, row group, its entry), in packed order
    files: Files = field(repr=False, compare=False)
    derived_folder: Path = field(repr=False, compare=False)
    """default folder for data computed from this directory"""

    @classmethod
    def open(cls, packed: Packed | Place | Path) -> PackedDirectory:
        """Reads the manifest and verifies the files that it lists; an error names the file.

        Checked here: the sizes of all files; with `verify`, the sums of all, or of a sample of the batch files. Checked
        when they are read: row groups each time, other files once.
        """
        packed = Packed.of(packed)
        place = packed.place
        manifest, digest = read_manifest(place)
        listed = {entry.path for entry in manifest.files}
        lacking = [name for name in map(file_of, ARRAYS) if name not in listed]
        lacking += [] if any(_is_evaluation(name) for name in listed) else [f"{EVALUATION_FOLDER}/"]
        lacking += [] if manifest.superblocks else [f"{BATCH_FOLDER}/"]
        if lacking:
            raise ContractError(f"{place / MANIFEST_FILE}: lists no file of {', '.join(lacking)}. {AGAIN}")
        files, derived_folder = _files(packed, manifest)
        files.check(manifest.files, packed.verify)
        return cls(place, manifest, digest, manifest.superblocks, files, derived_folder)

    @property
    def path(self) -> Path:
        """The local path; only for a local directory."""
        return self.place.path

    @property
    def root(self) -> Place:
        """The folder that paths of files are relative to."""
        return self.manifest.root(self.place)

    @property
    def variants(self) -> int:
        """The number of variants: packings with different sampled negatives, which epochs use in turn."""
        return 1 + max((block.variant for _, _, block in self.superblocks), default=0)

    def superblock_sizes(self, epoch: int) -> dict[int, int]:
        """Number of each superblock that the epoch reads -> its batches, in packed order."""
        own = epoch % self.variants
        blocks = enumerate(block for _, _, block in self.superblocks)
        return {number: len(block.batches) for number, block in blocks if block.variant == own}

    def place_of(self, superblock: int) -> str:
        """File and row group, for messages."""
        path, row_group, _ = self.superblocks[superblock]
        return f"{self.root / path}, row group {row_group}"

    @contextmanager
    def reading(self, superblock: int) -> Iterator[None]:
        """Inside, a library's error for a missing or damaged file becomes a ContractError that names the file.

        An error of the machine, where the file may be intact, becomes an InputError.
        """
        try:
            yield
        except InputError:
            raise
        except OSError as error:
            if error.errno in (None, errno.ENOENT):  # None: pyarrow, about the content
                raise self._damaged(superblock, error) from error
            few = error.errno in (errno.EMFILE, errno.ENFILE)
            advice = "Raise the limit of open files (ulimit -n)" if few else "Fix this"
            raise InputError(
                f"{self.place_of(superblock)}: cannot be read ({error}). {advice} and run again; a training resumes "
                "with --resume auto"
            ) from error
        except (ValueError, EOFError, pa.ArrowException) as error:
            raise self._damaged(superblock, error) from error

    def _damaged(self, superblock: int, error: Exception) -> ContractError:
        place = self.place_of(superblock)
        return ContractError(f"{place}: gone or damaged since it was opened ({error}). Pack again with jobs.pack")

    def token_table(self) -> TokenTable:
        """The token table, memory-mapped. ContractError names the file or the fault in it."""
        arrays: dict[str, Any] = {name: self._mapped(file_of(name)) for name in ARRAYS}
        tokens = self.manifest.tokens
        with _named(self.root / TOKEN_FOLDER):
            table = TokenTable(**arrays)
            table.check_tokens(
                vocabulary=tokens.vocabulary,
                segments=tokens.segments_per_item,
                tokens=tokens.tokens_per_segment,
                fields=len(FIELDS),
            )
            if table.rows != tokens.rows:
                raise ContractError(f"token table of {table.rows} rows, the manifest says {tokens.rows}. {AGAIN}")
        return table

    def item_use(self) -> ItemUse | None:
        """What batches and evaluation impressions hold of each item row, memory-mapped; None in older directories.

        ContractError names the file or the fault in it.
        """
        if not any(entry.path == use_file("clicks_V") for entry in self.manifest.files):
            return None
        arrays: dict[str, Any] = {name: self._mapped(use_file(name)) for name in USE_DTYPES}
        counts = self.manifest.counts
        with _named(self.root / ITEM_USE_FOLDER):
            use = ItemUse(**arrays)
            found = {"distinct_items": int(use.in_batches_V.sum())}
            if self.variants == 1:
                found["clicks"] = int(use.clicks_V.sum())
            if len(use.clicks_V) != self.manifest.tokens.rows:
                raise ContractError(f"{len(use.clicks_V)} rows, the manifest says {self.manifest.tokens.rows}. {AGAIN}")
            for name, number in found.items():
                if counts.get(name, number) != number:
                    raise ContractError(f"{name} {number}, the manifest says {counts[name]}. {AGAIN}")
        return use

    def _mapped(self, name: str) -> NDArray[Any]:
        try:
            with self.files.complete(name) as source:
                return mapped(source)
        except ValueError as error:
            if isinstance(error, InputError):
                raise
            raise ContractError(f"{self.root / name}: {error}. {AGAIN}") from error

    def evaluation(self) -> pa.Table:
        """All evaluation impressions, with the columns of EVALUATION. ContractError names the file."""
        entries = sorted((entry for entry in self.manifest.files if _is_evaluation(entry.path)), key=lambda e: e.path)
        rows, tables = self.manifest.tokens.rows, []
        for entry in entries:
            with self.files.complete(entry.path) as source:
                tables.append(read_evaluation(source, entry.rows, items=rows, where=str(self.root / entry.path)))
        return pa.concat_tables(tables)


def _files(packed: Packed, manifest: Manifest) -> tuple[Files, Path]:
    """(the directory's files, its derived folder)."""
    place = packed.place
    if place.is_local:
        return LocalFiles(manifest.root(place).path), place.path.with_name(f"{place.path.name}.frozen")
    kept = Cache(packed.cache)
    return StoredFiles(manifest.root(place), kept), kept.folder / "frozen"


def read_manifest(place: Place | Path) -> tuple[Manifest, str]:
    """(the manifest of a packed directory, its sha256); reads no other file."""
    place = Place.of(place)
    text = local_manifest(place.path) if place.is_local else stored_manifest(place)
    where = place.path / MANIFEST_FILE if place.is_local else place / MANIFEST_FILE
    return Manifest.from_json(text, str(where)), hashlib.sha256(text).hexdigest()


def has_manifest(place: Place) -> bool:
    """Whether a manifest exists, readable or not."""
    return os.path.lexists(place.path / MANIFEST_FILE) if place.is_local else head(place / MANIFEST_FILE) is not None


@contextmanager
def _named(path: object) -> Iterator[None]:
    """Inside, a ContractError gets `path` in front of its message."""
    try:
        yield
    except ContractError as error:
        raise ContractError(f"{path}: {error}") from error


def _is_evaluation(name: str) -> bool:
    return name.startswith(f"{EVALUATION_FOLDER}/")
