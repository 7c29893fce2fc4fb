"""Writes the token table's files from ITEM_TOKENS, in ranges of rows, so that no task holds them all."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Any
from uuid import uuid4

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from pipelines.engine.groups import per_group
from pipelines.packing.shard import IntArray
from pipelines.packing.tokens import COLUMNS, token_piece
from pipelines.packing.write import join_token_pieces, write_piece
from schemas.errors import ContractError, InputError
from schemas.manifest import FileEntry, Tokens
from schemas.storage.copies import fetched, published
from schemas.storage.place import Place
from schemas.strict_json import converted
from schemas.token_table import ARRAYS, file_of

ROWS = 1 << 16  # of one task: 128 MiB for bodies of 512 tokens
_PIECE = pa.schema(
    [
        ("part", pa.int32()),
        ("path", pa.string()),
        ("rows", pa.int64()),
        ("lengths", pa.list_(pa.int64())),
        ("fault", pa.string()),
    ]
)
_PER_ROW = ("item_row", "canonical_row", "tokens_version")  # columns kept for the items of all sources


@dataclass(frozen=True, slots=True)
class RowTokens:
    """The number of tokens of item rows, over all segments, from the token table of a packed directory."""

    folder: Place

    def __getitem__(self, rows: IntArray, /) -> IntArray:
        segment_start, token_start = (
            _memory_map(self.folder / file_of(name)) for name in ("segment_start_V1", "token_start_S1")
        )
        found: IntArray = token_start[segment_start[rows + 1]] - token_start[segment_start[rows]]
        return found


def _memory_map(file: Place) -> NDArray[Any]:
    return np.load(file.path, mmap_mode="r") if file.is_local else _memory_map_copy(file)


@lru_cache(maxsize=2)  # a run looks up two arrays of one table: each process copies them once
def _memory_map_copy(file: Place) -> NDArray[Any]:
    """Maps a local copy that is already unlinked: the system frees it with the last map."""
    with fetched(file) as path:
        found: NDArray[Any] = np.load(path, mmap_mode="r")
        return found


def pack_tokens(
    folder: Place, items: DataFrame, news: dict[str, Any], source: str, *, work: Place, rows_per_task: int = ROWS
) -> tuple[Tokens, list[FileEntry]]:
    """Write the token table of the source's items. InputError unless the settings noted in `news` made all of them.

    The table has a row for the items of all sources. Those of other sources have other settings, and no tokens here.
    """
    ours = F.col("source") == source
    _check_rows(items, ours, news, source)
    where, advice = "table item_tokens, its note made_from", "Run ./feedloop prepare_news again"
    made = converted({**news.get("tokens", {}), "rows": 1}, Tokens, where, advice=advice)

    own = (F.when(ours, F.col(name)).otherwise(F.array()).alias(name) for name in COLUMNS if name not in _PER_ROW)
    part = F.floor((F.col("item_row") - 1) / rows_per_task).cast("int").alias("part")
    parts = per_group(
        items.select(part, *_PER_ROW, *own),
        ["part"],
        partial(_write_piece, work=work, vocabulary=made.vocabulary, rows_per_task=rows_per_task),
        "part int, path string, rows long, lengths array<long>, fault string",
        order=["item_row"],
    )
    found = sorted(parts.collect(), key=lambda row: int(row["part"]))
    for row in found:
        if row["fault"] is not None:
            raise ContractError(row["fault"])
    lengths = dict(zip(ARRAYS, np.sum([row["lengths"] for row in found], axis=0).tolist(), strict=True))
    names = [row["path"] for row in found]
    with fetched(work, wanted=set(names).__contains__) as pieces:
        files = join_token_pieces(folder, [pieces / name for name in names], lengths)
    return replace(made, rows=1 + sum(row["rows"] for row in found)), files


def _write_piece(table: pa.Table, *, work: Place, vocabulary: int, rows_per_task: int) -> pa.Table:
    """A fault is returned as a value: an exception would reach the user as the engine's, with a traceback."""
    part = table["part"][0].as_py()
    path, lengths, fault = f"tokens-{part:05d}-{uuid4().hex}.npz", [0] * len(ARRAYS), None
    try:
        arrays = token_piece(table, vocabulary=vocabulary, after=part * rows_per_task)
        with published(work / path) as at:
            write_piece(at, arrays)
        lengths = [len(arrays[name]) for name in ARRAYS]
    except ContractError as error:
        fault = str(error)
    found = {"part": part, "path": path, "rows": len(table), "lengths": lengths, "fault": fault}
    return pa.Table.from_pylist([found], _PIECE)


def _check_rows(items: DataFrame, ours: Column, news: dict[str, Any], source: str) -> None:
    """Checks over all rows, which the task of one range cannot make."""
    noted = F.col("tokenizer_sha256").isin(news.get("sha256", []))
    mine = items.select("item_row", "canonical_row", ours.alias("ours"), noted.alias("noted"))
    kept = mine.select(
        F.col("item_row").alias("kept"), F.col("canonical_row").alias("kept_by"), F.col("ours").alias("kept_ours")
    )
    both = mine.join(kept, F.col("canonical_row") == F.col("kept"), "left")
    lost = F.col("kept").isNull()
    counts = {
        "rows": F.count("*"),
        "distinct": F.count_distinct("item_row"),
        "first": F.min("item_row"),
        "last": F.max("item_row"),
        "unnoted": F.count(F.when(F.col("ours") & ~F.col("noted"), 1)),
        "elsewhere": F.count(F.when(F.col("ours") & (lost | ~F.col("kept_ours")), 1)),
        "lost": F.count(F.when(lost, 1)),
        "chained": F.count(F.when(F.col("kept_by") != F.col("kept"), 1)),
    }
    found = both.agg(*(count.alias(name) for name, count in counts.items())).collect()[0]
    if not news or found["unnoted"] or found["elsewhere"]:
        raise InputError(
            f"table item_tokens: some tokens of source {source!r} were made by other settings than the table notes: "
            "prepare_news was stopped, or an older feedloop made them. Run ./feedloop prepare_news of this source again"
        )
    rows = found["rows"]
    if (found["first"], found["last"], found["distinct"]) != (1, rows, rows):
        raise ContractError(
            f"table item_tokens: the rows of its {rows} items are not 1 to {rows}. "
            "Restore an earlier version of the table, or run ./feedloop prepare_news into an empty lake"
        )
    if found["lost"] or found["chained"]:
        raise ContractError(
            f"table item_tokens: the canonical_row of {found['lost']} items is the row of no item, and that of "
            f"{found['chained']} is an item with another canonical_row. Restore an earlier version of the table, or "
            "run ./feedloop prepare_news into an empty lake"
        )
