"""PackedDirectory: opens what jobs.pack wrote, and trusts only files that the manifest lists."""

from __future__ import annotations

import errno
import hashlib
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
from numpy.typing import NDArray

from schemas.errors import ContractError, InputError
from schemas.manifest import (
    BATCH_FOLDER,
    EVALUATION_FOLDER,
    LARGEST_MANIFEST,
    MANIFEST_FILE,
    FileEntry,
    Manifest,
    Superblock,
)
from schemas.news import FIELDS
from schemas.regular_file import check_inside, opened, read_bytes
from schemas.token_table import ARRAYS, TOKEN_FOLDER, TokenTable, file_of
from trainer.data.cells import mapped
from trainer.data.evaluation import read_evaluation

Arrays = Mapping[str, NDArray[Any]]
_AGAIN = "Pack again with jobs.pack"


@dataclass(frozen=True, slots=True)
class PackedDirectory:
    """An immutable packed-batch directory, verified file by file when opened."""

    path: Path
    manifest: Manifest
    manifest_sha256: str
    superblocks: tuple[tuple[str, int, Superblock], ...]  # (path, row group, what it holds), in packed order

    @classmethod
    def open(cls, path: Path) -> PackedDirectory:
        """Read the manifest, verify size and sha256 of each file that it lists; an error names the file."""
        manifest, digest = read_manifest(path)
        listed = {entry.path for entry in manifest.files}
        lacking = [name for name in map(file_of, ARRAYS) if name not in listed]
        lacking += [] if any(_is_evaluation(name) for name in listed) else [f"{EVALUATION_FOLDER}/"]
        lacking += [] if manifest.superblocks else [f"{BATCH_FOLDER}/"]
        if lacking:
            raise ContractError(f"{path / MANIFEST_FILE}: lists no file of {', '.join(lacking)}. {_AGAIN}")
        for entry in manifest.files:
            _verify(path, entry)
        return cls(path, manifest, digest, manifest.superblocks)

    @property
    def variants(self) -> int:
        """How many drawings of negatives and batches there are; epochs take turns with them."""
        return 1 + max((block.variant for _, _, block in self.superblocks), default=0)

    def superblock_sizes(self, epoch: int) -> dict[int, int]:
        """Number of each superblock that the epoch reads -> its batches, in packed order."""
        own = epoch % self.variants
        blocks = enumerate(block for _, _, block in self.superblocks)
        return {number: len(block.batches) for number, block in blocks if block.variant == own}

    def place_of(self, superblock: int) -> str:
        """File and row group, for messages."""
        path, row_group, _ = self.superblocks[superblock]
        return f"{self.path / path}, row group {row_group}"

    @contextmanager
    def reading(self, superblock: int) -> Iterator[None]:
        """Inside, what a library says of a file that is gone or damaged becomes a ContractError that names it.

        InputError for what the machine refuses: such a file may be whole.
        """
        try:
            yield
        except InputError:
            raise
        except OSError as error:
            if error.errno in (None, errno.ENOENT):  # None: pyarrow, of contents
                raise self._damaged(superblock, error) from error
            few = error.errno in (errno.EMFILE, errno.ENFILE)
            advice = "Raise the limit of open files (ulimit -n)" if few else "Mend that"
            raise InputError(
                f"{self.place_of(superblock)}: cannot be read ({error}). {advice}, and go on; a training does so by "
                "--resume auto"
            ) from error
        except (ValueError, EOFError, pa.ArrowException) as error:
            raise self._damaged(superblock, error) from error

    def _damaged(self, superblock: int, error: Exception) -> ContractError:
        place = self.place_of(superblock)
        return ContractError(f"{place}: gone or damaged since it was opened ({error}). Pack again with jobs.pack")

    def token_table(self) -> TokenTable:
        """The token table, memory-mapped; ContractError names the file, or what in it cannot be."""
        arrays: dict[str, Any] = {name: self._mapped(file_of(name)) for name in ARRAYS}
        tokens = self.manifest.tokens
        with _named(self.path / TOKEN_FOLDER):
            table = TokenTable(**arrays)
            table.check_tokens(
                vocabulary=tokens.vocabulary,
                segments=tokens.segments_per_item,
                tokens=tokens.tokens_per_segment,
                fields=len(FIELDS),
            )
            if table.rows != tokens.rows:
                raise ContractError(f"token table of {table.rows} rows, the manifest says {tokens.rows}. {_AGAIN}")
        return table

    def _mapped(self, name: str) -> NDArray[Any]:
        try:
            return mapped(self.path / name)
        except ValueError as error:
            if isinstance(error, InputError):
                raise
            raise ContractError(f"{self.path / name}: {error}. {_AGAIN}") from error

    def evaluation(self) -> pa.Table:
        """All evaluation impressions: columns as schemas.trajectory.EVALUATION; ContractError names the file."""
        entries = sorted((entry for entry in self.manifest.files if _is_evaluation(entry.path)), key=lambda e: e.path)
        rows = self.manifest.tokens.rows
        return pa.concat_tables([read_evaluation(self.path / entry.path, entry.rows, items=rows) for entry in entries])


def read_manifest(path: Path) -> tuple[Manifest, str]:
    """The manifest of a packed directory and its sha256; no other file is looked at."""
    file = path / MANIFEST_FILE
    if not os.path.lexists(file):
        raise InputError(
            f"{path}: no {MANIFEST_FILE}, so this is no complete packed directory. Make one with jobs.pack"
        )
    text = read_bytes(file, largest=LARGEST_MANIFEST, advice=_AGAIN)
    return Manifest.from_json(text, str(file)), hashlib.sha256(text).hexdigest()


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Inside, an error of a contract is given the path that it is about."""
    try:
        yield
    except ContractError as error:
        raise ContractError(f"{path}: {error}") from error


def _is_evaluation(name: str) -> bool:
    return name.startswith(f"{EVALUATION_FOLDER}/")


def _verify(folder: Path, entry: FileEntry) -> None:
    path = check_inside(folder, entry.path, advice=_AGAIN)
    if not os.path.lexists(path):
        raise ContractError(f"{path}: the manifest lists this file, but it is missing. {_AGAIN}")
    with opened(path, largest=sys.maxsize, advice=_AGAIN) as stream:
        size = os.fstat(stream.fileno()).st_size
        if size != entry.bytes:
            raise ContractError(f"{path}: {size} bytes, the manifest says {entry.bytes}. {_AGAIN}")
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    if digest != entry.sha256:
        raise ContractError(f"{path}: sha256 {digest[:12]}…, the manifest says {entry.sha256[:12]}…. {_AGAIN}")
