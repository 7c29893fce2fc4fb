"""Drawn trajectories, evaluation impressions and items, packed without a lake: by this process's engine or another's.

`python -m tests.pipelines.packing.drawn ENGINE TABLES OUT OPTIONS` packs the folder that `draw` made; the options are
JSON: names of directories below OUT -> options of each.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.engine.choice import EngineConfig, session_for
from pipelines.packing.config import PackingConfig
from pipelines.packing.flow import Packed, pack_frames
from pipelines.packing.write import build_directory
from schemas.as_arrow import arrow_schema
from schemas.news import ITEM_TOKENS
from schemas.storage.place import Place
from schemas.table import Table
from schemas.trajectory import EVALUATION, TRAJECTORIES
from tests.engines import Engine, started

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

START = datetime(2026, 3, 2, tzinfo=UTC)
ITEMS = 120
OTHERS = 5  # items of another source, which stand last
NEWS = {
    "tokens": {
        "tokenizer": "t",
        "tokenizer_sha256": "0" * 64,
        "vocabulary": 30522,
        "pad_id": 0,
        "special_tokens": 2,
        "tokens_per_segment": 8,
        "segments_per_item": 2,
        "fields": ["title", "abstract"],
        "select": "text",
    },
    "near_duplicates": None,
    "sha256": ["k"],
}


def draw(folder: Path, *, users: int = 300, impressions: int = 90, items: int = ITEMS, seed: int = 5) -> Path:
    """The three tables as Parquet files below `folder`, users of a few topics each, in two variants."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    first = [_trajectory(rng, user, items) for user in range(users)]
    second = [row | {"candidate_row": [each[:2] for each in row["candidate_row"]], "variant": 1} for row in first]
    write(folder, TRAJECTORIES, first + second)
    write(folder, EVALUATION, [_impression(rng, number, items) for number in rng.permutation(impressions).tolist()])
    write(folder, ITEM_TOKENS, [_item(rng, number, items) for number in (1 + rng.permutation(items + OTHERS)).tolist()])
    return folder


def write(folder: Path, table: Table, rows: list[dict[str, Any]]) -> None:
    """One table of the drawn ones, in several files."""
    (folder / table.name).mkdir(exist_ok=True)
    found = pa.Table.from_pylist(rows, arrow_schema(table))
    for part in range(3):
        third = found.take(np.arange(part, len(found), 3))
        pq.write_table(third, folder / table.name / f"part-{part}.parquet")


def pack_drawn(spark: SparkSession, tables: Path, out: Path, config: PackingConfig) -> Packed:
    """Pack the tables of `draw`, without a manifest."""
    trajectories, evaluation, items = (
        spark.read.parquet((tables / table.name).absolute().as_uri())
        for table in (TRAJECTORIES, EVALUATION, ITEM_TOKENS)
    )
    with build_directory(out) as folder:
        return pack_frames(Place.of(folder), trajectories, evaluation, items, config=config, news=NEWS)


def start(engine: Engine, tables: Path, out: Path, options: Mapping[str, PackingConfig]) -> subprocess.Popen[bytes]:
    """Start packing by an engine in its own process."""
    described = json.dumps({name: asdict(config) for name, config in options.items()})
    return started(engine, "tests.pipelines.packing.drawn", engine, str(tables), str(out), described)


def contents(out: Path) -> dict[str, bytes]:
    """The bytes of each file, by its name without the random part; Petastorm's metadata holds those names."""
    files = (path for path in out.rglob("*") if path.is_file() and path.name != "_common_metadata")
    return {re.sub("-[0-9a-f]{32}", "", str(path.relative_to(out))): path.read_bytes() for path in files}


def _trajectory(rng: np.random.Generator, user: int, items: int) -> dict[str, Any]:
    topic = int(rng.integers(4)) * items // 4
    clicks = [topic + 1 + int(row) for row in rng.integers(0, items // 4, rng.integers(1, 9))]
    return {
        "source": "p",
        "user_id": f"u{user}",
        "window": 0,
        "time": START + timedelta(microseconds=int(rng.integers(0, 48 * 3600 * 10**6))),
        "click_row": clicks,
        "prefix": list(range(len(clicks))),
        "candidate_row": [[row, *rng.integers(1, items + 1, rng.integers(0, 4)).tolist()] for row in clicks],
        "weight": rng.choice([0.0, 0.3, 1.0], len(clicks)).tolist(),
        "logged": rng.choice([True, False], len(clicks)).tolist(),
        "variant": None,
    }


def _impression(rng: np.random.Generator, number: int, items: int) -> dict[str, Any]:
    shown = int(rng.integers(1, 6))
    marks = rng.choice([True, False], shown).tolist()
    return {
        "source": "p",
        "impression_id": f"i{number}",
        "user_id": f"ü{number % 7}",
        "time": START + timedelta(days=2, minutes=30 * (number // 10)),  # ten of each time
        "history_row": rng.integers(1, items + 1, rng.integers(0, 5)).tolist(),
        "shown_row": rng.integers(1, items + 1, shown).tolist(),
        "shown_id": [f"n{each}" for each in range(shown)],
        "clicked": marks if number % 9 else None,
        "shown_age_hours": rng.random(shown).astype(np.float32).tolist(),
        "recent_shown": [1] * shown,
        "recent_clicks": [0] * shown,
        "new_user": bool(number % 2),
        "also_seen_as": [] if number % 3 else ["j"],
        "drawn": None,
    }


def _item(rng: np.random.Generator, number: int, items: int) -> dict[str, Any]:
    texts = int(rng.integers(1, 3))
    tokens = [[101, *rng.integers(1000, 30000, rng.integers(1, 7)).tolist(), 102] for _ in range(texts)]
    refined = [[min(99, each) for each in segment] if number % 5 == 0 else [] for segment in tokens]
    return {
        "source": "p" if number <= items else "q",
        "item_id": f"n{number}",
        "item_row": number,
        "canonical_row": number,
        "text_sha256": "t",
        "text_version": 1,
        "tokenizer_sha256": "k" if number <= items else "other",
        "segment_field": list(range(texts)),
        "segment_tokens": tokens,
        "tokens_version": 1 + number % 3,
        "segment_full_tokens": [len(segment) for segment in tokens],
        "segment_frequency": refined,
        "segment_position": refined,
    }


def _main(engine: str, tables: str, out: str, options: str) -> None:
    spark = session_for("feedloop drawn", EngineConfig(engine=engine))  # type: ignore[arg-type]
    for name, chosen in json.loads(options).items():
        pack_drawn(spark, Path(tables), Path(out) / name, PackingConfig(**chosen))


if __name__ == "__main__":
    _main(*sys.argv[1:])
