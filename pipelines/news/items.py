"""Assigns each item its permanent row and finds the items that need tokens."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate

import pyarrow as pa
from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from pipelines.engine.expressions import bucket_of
from pipelines.engine.scratch import Keep
from schemas.news import FIELDS

KEY = ["source", "item_id"]
_PART_ROWS = 1 << 18  # approximate number of new items that one task sorts
_MOST_PARTS = 1 << 10
_SAMPLED = 32  # ids per part that the driver samples to find the parts' bounds


def with_item(news: DataFrame, items: DataFrame) -> DataFrame:
    """Adds item_row and old_* columns from ITEM_TOKENS, null for new news."""
    held = items.select(
        *KEY,
        "item_row",
        F.col("canonical_row").alias("old_canonical_row"),
        F.col("text_sha256").alias("old_text_sha256"),
        F.col("text_version").alias("old_text_version"),
        F.col("tokenizer_sha256").alias("old_tokenizer_sha256"),
    )
    return news.withColumnRenamed("news_id", "item_id").join(held, KEY, how="left")


def assign_rows(news: DataFrame, *, after: int, keep: Keep, part_rows: int = _PART_ROWS) -> DataFrame:
    """(source, item_id, new_row) of the news without item_row: dense from `after` + 1, in order of the key.

    Parts are ranges of ids. A row is the size of the earlier parts plus the place in its own part, so that no task
    holds all items. The bounds of the parts change no row.
    """
    new = keep(news.where("item_row IS NULL").select(*KEY))
    parted = _parted(new, min(_MOST_PARTS, -(-new.count() // part_rows)))
    counted = parted.groupBy("source", "part").count().collect()
    sizes = sorted((row["source"], row["part"], row["count"]) for row in counted)
    starts = accumulate((size for *_, size in sizes), initial=after)
    offsets = [(source, part, start) for (source, part, _), start in zip(sizes, starts, strict=False)]
    before = new.sparkSession.createDataFrame(offsets, "source string, part int, before long")
    place = F.row_number().over(Window.partitionBy("source", "part").orderBy("item_id"))
    placed = parted.withColumn("place", place).join(before, ["source", "part"], how="inner")
    return placed.select(*KEY, (F.col("before") + F.col("place")).cast("int").alias("new_row"))


def with_rows(news: DataFrame, rows: DataFrame) -> DataFrame:
    """Completes item_row from the new rows and adds canonical_row, the smallest row of the same text."""
    own = F.when(F.concat(*FIELDS) == "", F.col("item_id"))  # items without text are different news
    same_text = Window.partitionBy("text_sha256", own)
    all_rows = news.join(rows, KEY, how="left").withColumn("item_row", F.coalesce("item_row", "new_row"))
    return all_rows.withColumn("canonical_row", F.min("item_row").over(same_text))


def with_near_duplicates(items: DataFrame, near: DataFrame) -> DataFrame:
    """The items with canonical_row replaced by the kept row of NEAR_DUPLICATES."""
    kept = near.select(F.col("item_row").alias("canonical_row"), "kept_row")
    found = items.join(kept, "canonical_row", how="left")
    return found.withColumn("canonical_row", F.coalesce("kept_row", "canonical_row")).drop("kept_row")


def changed_items(items: DataFrame, sha256_of: Mapping[tuple[str, tuple[str, ...]], str]) -> DataFrame:
    """The items whose ITEM_TOKENS row is missing or out of date, with its new values except the segments.

    `sha256_of`: (source, fields with text) -> hash of the settings that make such an item.
    """
    keys = {f"{_marks(filled)}{source}": sha256 for (source, filled), sha256 in sha256_of.items()}
    filled = (F.when(F.col(field) != "", "1").otherwise("0") for field in FIELDS)
    sha256 = F.create_map(*(F.lit(value) for pair in keys.items() for value in pair))[F.concat(*filled, "source")]
    version = F.coalesce("old_text_version", F.lit(0)) + _differs("text_sha256").cast("int")
    valued = items.withColumns({"text_version": version, "tokenizer_sha256": sha256})
    outdated = _differs("text_sha256") | _differs("tokenizer_sha256") | _differs("canonical_row")
    return valued.where(outdated)


def _parted(new: DataFrame, parts: int) -> DataFrame:
    """Adds `part`, which ascends with the ids; a sample of ids gives the bounds."""
    if parts <= 1:
        return new.withColumn("part", F.lit(0))
    total = new.count()
    share = max(1, total // (parts * _SAMPLED))
    sampled = new.where(bucket_of("item_id", share) == 0).select("item_id").distinct().collect()
    ids = sorted(row["item_id"] for row in sampled)
    ends = [ids[len(ids) * number // parts] for number in range(1, parts)] if ids else []

    def deal(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            part = pa.array([bisect_right(ends, item_id) for item_id in batch["item_id"].to_pylist()], pa.int32())
            yield pa.RecordBatch.from_arrays([batch["source"], batch["item_id"], part], [*KEY, "part"])

    return new.mapInArrow(deal, "source string, item_id string, part int")


def _marks(filled: Sequence[str]) -> str:
    return "".join(str(int(field in filled)) for field in FIELDS)


def _differs(name: str) -> Column:
    return ~F.col(name).eqNullSafe(F.col(f"old_{name}"))
