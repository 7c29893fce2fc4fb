"""Writes a packed directory of random trajectories shaped like those of a news log. Needs only numpy and pyarrow.

Readers choose among the news of the moment. Newer news are more likely, and the appeal of news follows Zipf's law. One
news item is published per trajectory; after the last one, the first is published again. So the number of items in a
batch hardly depends on the numbers of trajectories and items, as long as there are more items than news of a moment.
Batches are in time order.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipelines.packing.assemble import FACTS, Arrays, assemble, facts_of
from pipelines.packing.item_use import UseSum, held_in_batch, write_item_use
from pipelines.packing.shard import IntArray, Shard
from pipelines.packing.write import (
    build_directory,
    entry_of,
    now,
    write_batches,
    write_manifest,
    write_plain,
    write_tokens,
)
from schemas.as_arrow import arrow_schema
from schemas.errors import InputError
from schemas.manifest import BATCH_FOLDER, EVALUATION_FOLDER, FileEntry, Manifest, Superblock, Tokens
from schemas.packed_batch import FORMAT_VERSION
from schemas.storage.place import Place
from schemas.token_table import TokenTable
from schemas.trajectory import EVALUATION

_ZIPF = 0.8  # the appeal of the n-th most appealing item of a moment is n ** -0.8
_MEAN_CLICKS, _WINDOW = 22, 50  # a window's clicks, as in MIND
_TARGETS = 0.35  # share of clicks whose impression was logged
_CLS, _SEP, _FIRST_WORD = 101, 102, 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawnConfig:
    """Sizes of the directory."""

    trajectories: int = 4096
    """total windows of clicks"""
    items: int = 8192
    """V: item rows, the pad included"""
    batch_trajectories: int = 64
    """B: trajectories of a packed batch"""
    superblock_batches: int = 24
    """packed batches that are read and shuffled together"""
    file_trajectories: int = 100_000
    """windows of clicks in one batch file, rounded to complete superblocks"""
    live_items: int = 4000
    """news that readers choose among at a moment"""
    candidates: int = 5
    """K: the clicked item and the others shown"""
    tokens: int = 32
    """T: tokens of the longest segment"""
    vocabulary: int = 30_522
    """vocabulary size of the random words"""
    seed: int = 1
    """seed of all random draws"""

    def __post_init__(self) -> None:
        if min(self.trajectories, self.batch_trajectories, self.superblock_batches) < 1 or self.items < 64:
            raise InputError(
                f"--trajectories is {self.trajectories}, --batch-trajectories {self.batch_trajectories}, --items "
                f"{self.items}: use 1 or more, of items 64"
            )


def drawn_directory(out: Path, config: DrawnConfig, length_V: IntArray) -> Path:
    """Write a complete packed directory at `out`; `length_V` = tokens of each item row, special ones included."""
    facts: list[dict[str, float]] = []
    use = UseSum(config.items)
    with build_directory(out) as folder:
        entries = [
            *_write_batch_files(folder, config, facts, use),
            *write_tokens(folder, _token_table(config, length_V)),
            *write_item_use(Place.of(folder), use.total()),
            _write_empty_evaluation(folder),
        ]
        counts = {name: int(sum(fact[name] for fact in facts)) for name in FACTS}
        write_manifest(
            folder,
            Manifest(
                format_version=FORMAT_VERSION,
                files=tuple(entries),
                tokens=_tokens_entry(config),
                inputs={},
                config={"drawn": asdict(config), "superblock_batches": config.superblock_batches},
                counts=counts,
                created_at=now(),
            ),
        )
    return out


def _write_batch_files(
    folder: Path, config: DrawnConfig, facts: list[dict[str, float]], use: UseSum
) -> Iterator[FileEntry]:
    """Write the batches of one file after the other, and note their counts and what they hold of each item row."""
    size = config.superblock_batches
    in_file = size * max(1, round(config.file_trajectories / (size * config.batch_trajectories)))
    batches = _noted(_batches(config), facts, use)
    for number in range(-(-config.trajectories // (in_file * config.batch_trajectories))):
        path, first = folder / BATCH_FOLDER / f"part-{number}.parquet", len(facts)
        write_batches(path, islice(batches, in_file), superblock_batches=size)
        blocks = tuple(_superblock(start, facts[start : start + size]) for start in range(first, len(facts), size))
        yield entry_of(folder, path, rows=len(facts) - first, superblocks=blocks)


def _noted(batches: Iterator[Arrays], facts: list[dict[str, float]], use: UseSum) -> Iterator[Arrays]:
    for batch in batches:
        facts.append(facts_of(batch))
        use.add_batches(held_in_batch(batch))
        yield batch


def _batches(config: DrawnConfig) -> Iterator[Arrays]:
    live = min(config.live_items, config.items - 1)
    ranks = np.random.default_rng(config.seed).permutation(live)
    appeal_V = (1 + ranks[np.arange(config.items) % live]) ** -_ZIPF  # so every moment has the same set of appeals
    fading = np.exp(-4 * np.arange(live) / live)
    for number, first in enumerate(range(0, config.trajectories, config.batch_trajectories)):
        rng = np.random.default_rng([config.seed, number])
        row_of_age = 1 + (first - np.arange(live)) % (config.items - 1)
        chance = np.cumsum(fading * appeal_V[row_of_age])
        shard = _shard(config, rng, row_of_age, chance, min(config.batch_trajectories, config.trajectories - first))
        yield assemble(shard, 0, shard.trajectories, batch_id=number)


def _shard(
    config: DrawnConfig, rng: np.random.Generator, row_of_age: IntArray, chance: NDArray[np.float64], trajectories: int
) -> Shard:
    """Trajectories of one batch. Each click sees all clicks before it; the last click of each is always a target."""

    def chosen(count: int) -> IntArray:
        rows: IntArray = row_of_age[np.searchsorted(chance, rng.random(count) * chance[-1])].astype(np.int32)
        return rows

    length_B = np.minimum(1 + rng.geometric(1 / _MEAN_CLICKS, trajectories), _WINDOW)
    click_start = np.concatenate([[0], np.cumsum(length_B)])
    click_row = chosen(click_start[-1])
    logged = rng.random(len(click_row)) < _TARGETS
    logged[click_start[1:] - 1] = True
    candidate_start = np.concatenate([[0], np.cumsum(logged * config.candidates)])
    candidate_row = chosen(candidate_start[-1])
    candidate_row[candidate_start[:-1][logged]] = click_row[logged]
    return Shard(
        click_start=click_start,
        click_row=click_row,
        prefix=np.arange(len(click_row)) - np.repeat(click_start[:-1], length_B),
        weight=logged.astype(np.float32),
        logged=logged,
        candidate_start=candidate_start,
        candidate_row=candidate_row,
    )


def _superblock(start: int, facts: list[dict[str, float]]) -> Superblock:
    return Superblock(
        batches=tuple(range(start, start + len(facts))),
        targets=tuple(int(fact["targets"]) for fact in facts),
        weights=tuple(float(fact["weights"]) for fact in facts),
        items=tuple(int(fact["items"]) for fact in facts),
        trajectories=sum(int(fact["trajectories"]) for fact in facts),
    )


def _token_table(config: DrawnConfig, length_V: IntArray) -> TokenTable:
    """Random words: one segment for each item except the pad."""
    length_S = length_V[1:]
    ends = np.cumsum(length_S)
    words = np.random.default_rng([config.seed, 1]).integers(_FIRST_WORD, config.vocabulary, ends[-1])
    words[ends - length_S], words[ends - 1] = _CLS, _SEP
    return TokenTable(
        segment_start_V1=np.concatenate([[0], np.arange(config.items)]).astype(np.int64),
        token_start_S1=np.concatenate([[0], ends]).astype(np.int64),
        segment_field_S=np.zeros(len(length_S), np.uint8),
        token_values=words.astype(np.uint16),
        canonical_row_V=np.arange(config.items, dtype=np.int32),
        tokens_version_V=np.ones(config.items, np.int32),
        refined_S=np.zeros(len(length_S), np.bool_),
        keyword_frequency_R=np.zeros(0, np.uint8),
        keyword_position_R=np.zeros(0, np.uint16),
    )


def _tokens_entry(config: DrawnConfig) -> Tokens:
    return Tokens(
        tokenizer="random words",
        tokenizer_sha256="0" * 64,
        vocabulary=config.vocabulary,
        pad_id=0,
        special_tokens=2,
        tokens_per_segment=config.tokens,
        segments_per_item=1,
        fields=("title",),
        select="text",
        rows=config.items,
    )


def _write_empty_evaluation(folder: Path) -> FileEntry:
    path = folder / EVALUATION_FOLDER / "part-0.parquet"
    write_plain(path, [], arrow_schema(EVALUATION))
    return entry_of(folder, path)
