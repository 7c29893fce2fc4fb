"""Manifest: what a packed directory holds. It is written last and is the commit: readers trust only files it lists.

Every constructor checks its rules, on writing and on reading: sizes and counts agree before anything is allocated.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from itertools import chain
from typing import Annotated, Any

from schemas.errors import ContractError
from schemas.item_use import item_use_fault
from schemas.news import FIELDS
from schemas.packed_batch import FORMAT_VERSION
from schemas.spans import Span, spans_fault
from schemas.storage.place import Place
from schemas.strict_json import Count, Finite, PlainPath, Positive, Sha256, ShortText, between, converted, json_value
from schemas.token_table import ITEM_BYTES, file_of

MANIFEST_FILE = "manifest.json"
LARGEST_MANIFEST = 1 << 30  # bytes: 100 per batch for 10 million batches
BATCH_FOLDER = "batches"
EVALUATION_FOLDER = "evaluation"
BUILD = r"build-[0-9a-f]{12}"  # on remote storage: the folder of the run that made the files, below the directory
_AGAIN = "Pack again with jobs.pack"


@dataclass(frozen=True, slots=True, kw_only=True)
class Superblock:
    """One row group of a batch file: consecutive packed batches that share items."""

    batches: tuple[Count, ...]  # batch ids, in file order
    targets: tuple[Count, ...]  # targets of each
    weights: tuple[Finite, ...]  # sum of target weights of each
    items: tuple[Count, ...]  # distinct items of each
    trajectories: Positive
    variant: Count = 0  # epoch e reads the superblocks of variant e modulo the number of variants

    def __post_init__(self) -> None:
        count, first = len(self.batches), min(self.batches, default=0)
        if not count or self.batches != tuple(range(first, first + count)):
            raise ContractError("the batches of a superblock are one or more consecutive numbers")
        if {len(self.targets), len(self.weights), len(self.items)} != {count}:
            raise ContractError(f"{count} batches, with another number of targets, weights or items")
        if min(self.weights) < 0:
            raise ContractError("a sum of weights below 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class FileEntry:
    """One file below the directory."""

    path: PlainPath
    sha256: Sha256
    bytes: Count
    rows: Count = 0
    superblocks: tuple[Superblock, ...] = ()  # batch files only: one per row group, in order
    spans: tuple[Span, ...] = ()  # batch files only: one per row group and the footer; none in older directories

    def __post_init__(self) -> None:
        batches = sum(len(block.batches) for block in self.superblocks)
        if self.superblocks and batches != self.rows:
            raise ContractError(f"{self.path} has {self.rows} rows, and superblocks of {batches} batches")
        if fault := spans_fault(self.spans, row_groups=len(self.superblocks), size=self.bytes):
            raise ContractError(f"{self.path} has {fault}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """The tokenizer that made the token table, and the table's shape."""

    tokenizer: ShortText
    tokenizer_sha256: Sha256
    vocabulary: Annotated[int, between(1, 2**32)]
    pad_id: Count
    special_tokens: Annotated[int, between(0, 16)]  # around each text
    tokens_per_segment: Annotated[int, between(1, 2**16)]  # T
    segments_per_item: Annotated[int, between(1, 2**10)]  # S
    fields: tuple[ShortText, ...]  # which of schemas.news.FIELDS became segments
    select: ShortText  # which part of a field longer than T was kept
    rows: Annotated[int, between(1, 2**31 - 1)]  # V
    category_first: bool = False  # whether titles begin with the words of their category
    tokenizer_content: ShortText = ""  # schemas.tokenizer_content.content_sha256 of its file; "" in older directories

    def match_tokenizer(self, tokenizer_sha256: str, tokenizer_content: str) -> bool:
        """Whether a tokenizer with this file, or with this content, makes these token ids."""
        same = self.tokenizer_content != "" and tokenizer_content == self.tokenizer_content
        return same or tokenizer_sha256 == self.tokenizer_sha256

    def __post_init__(self) -> None:
        if self.pad_id >= self.vocabulary:
            raise ContractError(f"pad_id {self.pad_id} is beyond a vocabulary of {self.vocabulary}")
        if not self.fields or len(set(self.fields)) < len(self.fields) or not {*self.fields} <= {*FIELDS}:
            raise ContractError(f"fields {list(self.fields)!r:.80}: one or more of {', '.join(FIELDS)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Trajectories:
    evaluate_from: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _News:
    near_duplicates: float | str | bool | None = None
    sources: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _PackedBy:
    """The part of `config` that code outside of packing reads; `config` holds more."""

    source: ShortText | None = None
    order: ShortText | None = None
    mixing: Finite | None = None
    seed: int | None = None
    superblock_batches: Positive | None = None
    table_ids: dict[str, str] = field(default_factory=dict)
    trajectories: _Trajectories | None = None
    news: _News | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """The entire directory. `inputs` maps each Delta table to the version read; `config` is packing's own."""

    format_version: int
    files: tuple[FileEntry, ...]
    tokens: Tokens
    inputs: dict[str, Count]
    config: dict[str, Any]
    counts: dict[str, Count]
    created_at: ShortText
    build: ShortText = ""  # folder below the directory that file paths are relative to; "": the directory itself

    def __post_init__(self) -> None:
        for check in (_check_files, _check_superblocks, _check_counts, _check_tokens):
            check(self)

    @property
    def superblocks(self) -> tuple[tuple[str, int, Superblock], ...]:
        """(path, row group, superblock) of every superblock, in packed order: by its first batch id."""
        found = [(f.path, g, block) for f in self.files for g, block in enumerate(f.superblocks)]
        return tuple(sorted(found, key=lambda entry: entry[2].batches[0]))

    def root(self, place: Place) -> Place:
        """The folder with the files of a directory at this place."""
        return place / self.build if self.build else place

    @property
    def source(self) -> str:
        """The publisher of the logs; ContractError where the directory was not packed from a lake."""
        source = self.config.get("source")
        if not source:
            raise ContractError(f"the packed directory's {MANIFEST_FILE} names no source in config. {_AGAIN}")
        return str(source)

    def version_of(self, table: str) -> int:
        """The Delta version of an input; ContractError where there is none."""
        if table not in self.inputs:
            raise ContractError(f"the packed directory's {MANIFEST_FILE} names no version of {table}. {_AGAIN}")
        return self.inputs[table]

    def to_json(self) -> str:
        """The text of manifest.json."""
        fields = {n: v for n, v in asdict(self).items() if v or n != "build"}  # older code does not know `build`
        return json.dumps(fields, indent=1, sort_keys=True, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes, where: str) -> Manifest:
        """Parse the text; ContractError, with `where`, unless it is a manifest of this format version."""
        raw = json_value(text, where, advice=_AGAIN)
        version = raw.get("format_version") if isinstance(raw, dict) else None
        if type(version) is not int:
            raise ContractError(f"{where}: not a packed directory's manifest (no format_version). {_AGAIN}")
        if version != FORMAT_VERSION:
            raise ContractError(f"{where}: format version {version}, this code reads {FORMAT_VERSION}. {_AGAIN}")
        manifest = converted(raw, cls, where, advice=_AGAIN)
        converted(manifest.config, _PackedBy, f"{where}, its config", advice=_AGAIN, unknown="ignored")
        return manifest


def _check_files(manifest: Manifest) -> None:
    twice = [path for path, times in Counter(entry.path for entry in manifest.files).items() if times > 1]
    if twice:
        raise ContractError(f"files lists {twice[0]} twice")
    if manifest.build and not re.fullmatch(BUILD, manifest.build):
        raise ContractError(f"build is {manifest.build!r:.80}, which is not the name of a run's folder")


def _check_superblocks(manifest: Manifest) -> None:
    """Batches and variants are numbered without gaps, and all variants hold the same number of trajectories."""
    blocks = [block for _, _, block in manifest.superblocks]
    ids: Iterator[int] = chain.from_iterable(block.batches for block in blocks)
    if any(found != wanted for wanted, found in enumerate(ids)):
        raise ContractError("the batches of all superblocks are not 0, 1, 2, ... each once")
    trajectories: Counter[int] = Counter()
    for block in blocks:
        trajectories[block.variant] += block.trajectories
    if blocks and max(trajectories) >= len(trajectories):
        raise ContractError(f"variant {max(trajectories)}, and {len(trajectories)} variants have superblocks")
    if len(set(trajectories.values())) > 1:
        raise ContractError(f"variants hold {dict(sorted(trajectories.items()))!r:.80} trajectories, not equally many")


def _check_counts(manifest: Manifest) -> None:
    """Counts equal the sums over superblocks; a directory with batches has targets."""
    blocks = [block for _, _, block in manifest.superblocks]
    sums: Mapping[str, int] = {
        "batches": sum(len(block.batches) for block in blocks),
        "targets": sum(chain.from_iterable(block.targets for block in blocks)),
        "trajectories": sum(block.trajectories for block in blocks),
        "distinct_items_per_epoch": sum(chain.from_iterable(block.items for block in blocks)),
        "superblocks": len(blocks),
        "variants": 1 + max((block.variant for block in blocks), default=0),
    }
    for name, found in sums.items():
        if manifest.counts.get(name, found) != found:
            raise ContractError(f"counts.{name} is {manifest.counts[name]}, and its superblocks have {found}")
    if blocks and not sums["targets"]:
        raise ContractError("no batch has a target")


def _check_tokens(manifest: Manifest) -> None:
    """The token table's files can hold V rows of S segments of T tokens, and no more; item use has V rows."""
    rows, tokens = manifest.tokens.rows, manifest.tokens
    most = rows * tokens.segments_per_item
    bounds = {
        "segment_start_V1": (rows + 1, rows + 1),
        "canonical_row_V": (rows, rows),
        "tokens_version_V": (rows, rows),
        "token_start_S1": (1, most + 1),
        "segment_field_S": (0, most),
        "refined_S": (0, most),
        "token_values": (0, most * tokens.tokens_per_segment),
    }
    entries = {entry.path: entry for entry in manifest.files}
    for name, (least, largest) in bounds.items():
        entry = entries.get(file_of(name))
        if entry is not None and not least <= entry.rows <= largest:
            shape = f"{tokens.rows} items of {tokens.segments_per_item} segments of {tokens.tokens_per_segment} tokens"
            raise ContractError(f"{entry.path} has {entry.rows} rows, which is not the table of {shape}")
        if entry is not None and entry.bytes < entry.rows * ITEM_BYTES[name]:
            raise ContractError(f"{entry.path} has {entry.rows} rows in {entry.bytes} bytes")
    if fault := item_use_fault({path: (entry.rows, entry.bytes) for path, entry in entries.items()}, rows=rows):
        raise ContractError(fault)
