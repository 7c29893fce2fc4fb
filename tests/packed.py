"""Builders for the torch half: small packed directories, written by the real packing code, and a tiny PLM."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from transformers import BertConfig, BertModel

from pipelines.packing.assemble import FACTS, Arrays, assemble, facts_of
from pipelines.packing.item_use import UseSum, held_in_batch, rows_in_evaluation, write_item_use
from pipelines.packing.petastorm_schema import write_schema
from pipelines.packing.shard import Shard
from pipelines.packing.write import (
    build_directory,
    entry_of,
    write_batches,
    write_manifest,
    write_plain,
    write_tokens,
)
from schemas.manifest import BATCH_FOLDER, EVALUATION_FOLDER, FileEntry, Manifest, Superblock, Tokens
from schemas.packed_batch import FORMAT_VERSION
from schemas.storage.place import Place
from schemas.token_table import TokenTable

VOCABULARY = 200
EVALUATION_SCHEMA = pa.schema(
    [
        ("source", pa.string()),
        ("impression_id", pa.string()),
        ("user_id", pa.string()),
        ("time", pa.timestamp("us", "UTC")),
        ("history_row", pa.list_(pa.int32())),
        ("shown_row", pa.list_(pa.int32())),
        ("shown_id", pa.list_(pa.string())),
        ("clicked", pa.list_(pa.bool_())),
        ("shown_age_hours", pa.list_(pa.float32())),
        ("recent_shown", pa.list_(pa.int32())),
        ("recent_clicks", pa.list_(pa.int32())),
        ("new_user", pa.bool_()),
        ("also_seen_as", pa.list_(pa.string())),
    ]
)

BASELINES = ("zero_shot", "popularity", "recent_clicks", "recent_rate", "recency", "category")  # with a catalogue

# (clicks, candidates of each click: [] = context only, prefix of each click)
Trajectory = tuple[list[int], list[list[int]], list[int]]


def random_trajectory(rng: np.random.Generator, *, items: int, candidates: int = 4) -> Trajectory:
    """A window whose latter half are targets; some impressions hold two clicks."""
    length = int(rng.integers(2, 9))
    clicks = [int(row) for row in rng.integers(1, items + 1, length)]
    prefix, seen = [], 0
    for place in range(length):
        if place == 0 or rng.random() < 0.7:
            seen = place
        prefix.append(seen)
    lists = [
        [click, *(int(row) for row in rng.integers(1, items + 1, rng.integers(1, candidates)))]
        if place >= length // 2
        else []
        for place, click in enumerate(clicks)
    ]
    return clicks, lists, prefix


def shard_of(trajectories: list[Trajectory]) -> Shard:
    """The arrays that packing works on."""
    clicks = [click for trajectory in trajectories for click in trajectory[0]]
    lists = [candidates for trajectory in trajectories for candidates in trajectory[1]]
    return Shard(
        click_start=np.cumsum([0, *(len(t[0]) for t in trajectories)]),
        click_row=np.array(clicks, np.int32),
        prefix=np.array([p for t in trajectories for p in t[2]], np.int32),
        weight=np.array([1.0 if candidates else 0.0 for candidates in lists], np.float32),
        logged=np.array([bool(candidates) for candidates in lists]),
        candidate_start=np.cumsum([0, *(len(candidates) for candidates in lists)]),
        candidate_row=np.array([row for candidates in lists for row in candidates], np.int32),
    )


def batches_of(trajectories: list[Trajectory], *, size: int) -> list[Arrays]:
    """Packed batches of `size` trajectories each, in order."""
    shard = shard_of(trajectories)
    starts = range(0, len(trajectories), size)
    return [assemble(shard, a, min(a + size, len(trajectories)), batch_id=n) for n, a in enumerate(starts)]


def token_table(rows: int, *, seed: int = 0, longest: int = 10) -> TokenTable:
    """Random tokens for items 1 to `rows`, one segment each, [CLS] = 1 and [SEP] = 2."""
    lengths = np.random.default_rng(seed).integers(3, longest, rows)
    rng = np.random.default_rng([seed, 1])  # of its own: a table with more rows begins with the same
    values = [np.r_[1, rng.integers(5, VOCABULARY, length - 2), 2] for length in lengths]
    return TokenTable(
        segment_start_V1=np.r_[0, np.arange(rows + 1)].astype(np.int64),
        token_start_S1=np.r_[0, np.cumsum(lengths)].astype(np.int64),
        segment_field_S=np.zeros(rows, np.uint8),
        token_values=np.concatenate(values).astype(np.uint16),
        canonical_row_V=np.arange(rows + 1, dtype=np.int32),
        tokens_version_V=np.ones(rows + 1, np.int32),
        refined_S=np.zeros(rows, np.bool_),
        keyword_frequency_R=np.zeros(0, np.uint8),
        keyword_position_R=np.zeros(0, np.uint16),
    )


def packed_directory(
    out: Path,
    *,
    trajectories: int = 48,
    items: int = 30,
    size: int = 4,
    superblock: int = 3,
    seed: int = 0,
    variants: int = 1,
    config: dict[str, Any] | None = None,
    unlabelled: int = 0,
    files: int = 2,
) -> Path:
    """A complete packed directory of random trajectories, in `files` batch files, with evaluation impressions.

    With two variants, the second file is the second: other trajectories, but as many.
    """
    rng = np.random.default_rng(seed)
    batches = batches_of([random_trajectory(rng, items=items) for _ in range(trajectories)], size=size)
    each = -(-len(batches) // (files * superblock)) * superblock
    with build_directory(out) as folder:
        parts = [batches[start : start + each] for start in range(0, len(batches), each)]
        written = [
            _batch_file(folder, f"part-{n}.parquet", part, superblock, variant=n if variants == 2 else 0)
            for n, part in enumerate(parts)
        ]
        evaluation = _evaluation(folder, rng, items, unlabelled)
        table = token_table(items, seed=seed)
        use = UseSum(table.rows)
        for n, part in enumerate(parts):
            for batch in part:
                use.add_batches(held_in_batch(batch), variant=n if variants == 2 else 0)
        use.add_evaluation(rows_in_evaluation(pq.read_table(folder / evaluation.path)))
        used = write_item_use(Place.of(folder), use.total())
        entries = [*written, write_schema(folder, written), *write_tokens(folder, table), *used, evaluation]
        tokens = Tokens(
            tokenizer="random",
            tokenizer_sha256="0" * 64,
            vocabulary=VOCABULARY,
            pad_id=0,
            special_tokens=2,
            tokens_per_segment=10,
            segments_per_item=1,
            fields=("title",),
            select="text",
            rows=table.rows,
        )
        facts = [facts_of(batch) for batch in batches]
        write_manifest(
            folder,
            Manifest(
                format_version=FORMAT_VERSION,
                files=tuple(sorted(entries, key=lambda entry: entry.path)),
                tokens=tokens,
                inputs={"trajectories": seed, "item_tokens": 0},
                config=config or {},
                counts={name: int(sum(fact[name] for fact in facts)) for name in FACTS},
                created_at="2026-01-01T00:00:00+00:00",
            ),
        )
    return out


def _batch_file(folder: Path, name: str, batches: list[Arrays], superblock: int, *, variant: int) -> FileEntry:
    path = folder / BATCH_FOLDER / name
    write_batches(path, batches, superblock_batches=superblock)
    groups = [batches[start : start + superblock] for start in range(0, len(batches), superblock)]
    return entry_of(folder, path, rows=len(batches), superblocks=tuple(_superblock(group, variant) for group in groups))


def _superblock(batches: list[Arrays], variant: int) -> Superblock:
    facts = [facts_of(batch) for batch in batches]
    return Superblock(
        batches=tuple(int(batch["batch_id"][0]) for batch in batches),
        targets=tuple(int(fact["targets"]) for fact in facts),
        weights=tuple(float(fact["weights"]) for fact in facts),
        items=tuple(int(fact["items"]) for fact in facts),
        trajectories=sum(int(fact["trajectories"]) for fact in facts),
        variant=variant,
    )


def _evaluation(folder: Path, rng: np.random.Generator, items: int, unlabelled: int) -> FileEntry:
    rows = [impression(rng, number, items=items) for number in range(20)]
    rows += [impression(rng, number, items=items, labelled=False) for number in range(20, 20 + unlabelled)]
    path = folder / EVALUATION_FOLDER / "part-0.parquet"
    count = write_plain(path, pa.Table.from_pylist(rows, EVALUATION_SCHEMA).to_batches(), EVALUATION_SCHEMA)
    return entry_of(folder, path, rows=count)


def impression(rng: np.random.Generator, number: int, *, items: int = 30, labelled: bool = True) -> dict[str, Any]:
    """A row of EVALUATION: six news shown, one clicked, on one of two days. Unlabelled, its first news is unknown."""
    shown = [int(row) for row in rng.choice(np.arange(1, items + 1), 6, replace=False)]
    return {
        "source": "p",
        "impression_id": f"{number}",
        "user_id": f"u{number % 7}",
        "time": datetime(2026, 3, 7 + number % 2, 9, number % 60, tzinfo=UTC),
        "history_row": [int(row) for row in rng.integers(1, items + 1, number % 5)],
        "shown_row": shown if labelled else [0, *shown[1:]],
        "shown_id": [f"n{row}" for row in shown],
        "clicked": [place == number % 6 for place in range(6)] if labelled else None,
        "shown_age_hours": [float((row * 7) % items) for row in shown],
        "recent_shown": [(row * 5) % items for row in shown],
        "recent_clicks": [(row * 5) % items // 3 for row in shown],
        "new_user": number % 7 == 3,
        "also_seen_as": [] if labelled else [f"{100 - number}"],
    }


def tiny_plm(folder: Path, *, layers: int = 2, dropout: float = 0.1) -> str:
    """A random BERT of 32 hidden units, saved as a Hugging Face folder."""
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=VOCABULARY,
        hidden_size=32,
        num_hidden_layers=layers,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
    )
    BertModel(config).save_pretrained(folder)
    return str(folder)
