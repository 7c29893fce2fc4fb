"""PackedDirectory: opens what jobs.pack wrote, and trusts only files that the manifest lists."""

from __future__ import annotations

import errno
import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from schemas.errors import ContractError, InputError
from schemas.manifest import EVALUATION_FOLDER, MANIFEST_FILE, FileEntry, Manifest, Superblock
from schemas.token_table import ARRAYS, TokenTable, file_of

Arrays = Mapping[str, NDArray[Any]]


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
        file = path / MANIFEST_FILE
        if not file.is_file():
            raise InputError(
                f"{path}: no {MANIFEST_FILE}, so this is no complete packed directory. Make one with jobs.pack"
            )
        text = file.read_text()
        manifest = Manifest.from_json(text, str(file))
        for entry in manifest.files:
            _verify(path / entry.path, entry)
        return cls(path, manifest, hashlib.sha256(text.encode()).hexdigest(), manifest.superblocks)

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
        """The token table, memory-mapped."""
        arrays: dict[str, Any] = {name: np.load(self.path / file_of(name), mmap_mode="r") for name in ARRAYS}
        table = TokenTable(**arrays)
        if table.rows != self.manifest.tokens.rows:
            raise ContractError(
                f"{self.path}: token table of {table.rows} rows, manifest says {self.manifest.tokens.rows}"
            )
        return table

    def evaluation(self) -> pa.Table:
        """All evaluation impressions: columns as schemas.trajectory.EVALUATION."""
        files = [e.path for e in self.manifest.files if e.path.startswith(f"{EVALUATION_FOLDER}/")]
        return pa.concat_tables([pq.read_table(self.path / name) for name in sorted(files)])


def _verify(path: Path, entry: FileEntry) -> None:
    if not path.is_file():
        raise ContractError(f"{path}: the manifest lists this file, but it is missing. Pack again with jobs.pack")
    size = path.stat().st_size
    if size != entry.bytes:
        raise ContractError(f"{path}: {size} bytes, the manifest says {entry.bytes}. Pack again with jobs.pack")
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    if digest != entry.sha256:
        raise ContractError(
            f"{path}: sha256 {digest[:12]}…, the manifest says {entry.sha256[:12]}…. Pack again with jobs.pack"
        )
