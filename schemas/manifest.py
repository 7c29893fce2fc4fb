"""Manifest: what a packed directory holds. It is written last and is the commit: readers trust only files it lists."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from schemas.errors import ContractError
from schemas.packed_batch import FORMAT_VERSION

MANIFEST_FILE = "manifest.json"
BATCH_FOLDER = "batches"
EVALUATION_FOLDER = "evaluation"


@dataclass(frozen=True, slots=True, kw_only=True)
class Superblock:
    """One row group of a batch file: consecutive packed batches that share items."""

    batches: tuple[int, ...]  # batch ids, in file order
    targets: tuple[int, ...]  # targets of each
    weights: tuple[float, ...]  # sum of target weights of each
    items: tuple[int, ...]  # distinct items of each
    trajectories: int
    variant: int = 0  # epoch e reads the superblocks of variant e modulo their number


@dataclass(frozen=True, slots=True, kw_only=True)
class FileEntry:
    """One file below the directory."""

    path: str
    sha256: str
    bytes: int
    rows: int = 0
    superblocks: tuple[Superblock, ...] = ()  # batch files only: one per row group, in order


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """Which tokenizer made the token table, and its shape."""

    tokenizer: str
    tokenizer_sha256: str
    vocabulary: int
    pad_id: int
    special_tokens: int  # around each text
    tokens_per_segment: int  # T
    segments_per_item: int  # S
    fields: tuple[str, ...]  # which of schemas.news.FIELDS became segments
    select: str  # what of a field longer than T was kept
    rows: int  # V
    category_first: bool = False  # whether titles begin with the words of their category
    tokenizer_content: str = ""  # schemas.tokenizer_content.content_sha256 of its file; "" in directories of before

    def are_of(self, tokenizer_sha256: str, tokenizer_content: str) -> bool:
        """Whether a tokenizer with this file, or with this content, makes these token ids."""
        same = self.tokenizer_content != "" and tokenizer_content == self.tokenizer_content
        return same or tokenizer_sha256 == self.tokenizer_sha256


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """The whole directory. `inputs` maps each Delta table to the version read; `config` is the packing's own."""

    format_version: int
    files: tuple[FileEntry, ...]
    tokens: Tokens
    inputs: dict[str, int]
    config: dict[str, Any]
    counts: dict[str, int]
    created_at: str

    @property
    def superblocks(self) -> tuple[tuple[str, int, Superblock], ...]:
        """(path, row group, superblock) of every superblock, in packed order: by its first batch id."""
        found = [(f.path, g, block) for f in self.files for g, block in enumerate(f.superblocks)]
        return tuple(sorted(found, key=lambda entry: entry[2].batches[0]))

    def to_json(self) -> str:
        """The text of manifest.json."""
        return json.dumps(asdict(self), indent=1, sort_keys=True) + "\n"

    @classmethod
    def from_json(cls, text: str, where: str) -> Manifest:
        """Parse; ContractError names `where` if it is no manifest of this format version."""
        try:
            raw = json.loads(text)
            version = raw["format_version"]
            if version != FORMAT_VERSION:
                raise ContractError(
                    f"{where}: format version {version}, this code reads {FORMAT_VERSION}. Pack again with jobs.pack"
                )
            files = tuple(
                FileEntry(**{**entry, "superblocks": tuple(_superblock(block) for block in entry["superblocks"])})
                for entry in raw["files"]
            )
            tokens = Tokens(**{**raw["tokens"], "fields": tuple(raw["tokens"]["fields"])})
            return cls(**{**raw, "files": files, "tokens": tokens})
        except (KeyError, TypeError, json.JSONDecodeError) as error:
            raise ContractError(
                f"{where}: not a packed directory's manifest ({error!r}). Pack again with jobs.pack"
            ) from error


def _superblock(raw: dict[str, Any]) -> Superblock:
    lists = {name: tuple(raw[name]) for name in ("batches", "targets", "weights", "items")}
    return Superblock(**lists, trajectories=raw["trajectories"], variant=raw["variant"])
