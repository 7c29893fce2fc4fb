"""Items: which news need tokens, and under which permanent row each item stands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from schemas.news import FIELDS

KEY = ["source", "item_id"]


def with_item(news: DataFrame, items: DataFrame) -> DataFrame:
    """Adds what ITEM_TOKENS holds of each news, null where it is new: item_row, old_* columns."""
    held = items.select(
        *KEY,
        "item_row",
        F.col("canonical_row").alias("old_canonical_row"),
        F.col("text_sha256").alias("old_text_sha256"),
        F.col("text_version").alias("old_text_version"),
        F.col("tokenizer_sha256").alias("old_tokenizer_sha256"),
    )
    return news.withColumnRenamed("news_id", "item_id").join(held, KEY, how="left")


def new_rows(news: DataFrame, *, after: int) -> DataFrame:
    """(source, item_id, new_row) of the news that have no item_row: dense from `after` + 1, in order of the key.

    Sorted once and kept; a row is its part's offset plus its place in the part, so that no window holds all items.
    """
    new = news.where("item_row IS NULL").select(*KEY).orderBy(*KEY)
    part, place = F.spark_partition_id(), F.monotonically_increasing_id()
    ordered = new.select("*", part.alias("part"), place.alias("place")).persist()
    sizes = {row["part"]: row["count"] for row in ordered.groupBy("part").count().collect()}
    parts = range(max(sizes, default=0) + 1)
    starts = accumulate([after + 1, *(sizes.get(number, 0) for number in parts)])
    offsets = F.array(*(F.lit(start) for start in starts))
    in_part = F.col("place") - F.shiftleft(F.col("part").cast("long"), 33)  # the upper bits of place are the part
    return ordered.select(*KEY, (F.get(offsets, F.col("part")) + in_part).cast("int").alias("new_row"))


def numbered(news: DataFrame, rows: DataFrame) -> DataFrame:
    """Adds to news with their items, and their new rows, item_row and canonical_row: the smallest of the same text."""
    own = F.when(F.concat(*FIELDS) == "", F.col("item_id"))  # items without text are not the same news
    same_text = Window.partitionBy("text_sha256", own)
    all_rows = news.join(rows, KEY, how="left").withColumn("item_row", F.coalesce("item_row", "new_row"))
    return all_rows.withColumn("canonical_row", F.min("item_row").over(same_text))


def resolved(items: DataFrame, near: DataFrame) -> DataFrame:
    """The numbered items with canonical_row as NEAR_DUPLICATES says."""
    kept = near.select(F.col("item_row").alias("canonical_row"), "kept_row")
    found = items.join(F.broadcast(kept), "canonical_row", how="left")
    return found.withColumn("canonical_row", F.coalesce("kept_row", "canonical_row")).drop("kept_row")


def changed_items(items: DataFrame, sha256_of: Mapping[tuple[str, tuple[str, ...]], str]) -> DataFrame:
    """Those whose ITEM_TOKENS row is missing or out of date, with its new values but for the segments.

    `sha256_of`: (source, the fields that hold text) -> what such an item is made by.
    """
    keys = {f"{_marks(filled)}{source}": sha256 for (source, filled), sha256 in sha256_of.items()}
    filled = (F.when(F.col(field) != "", "1").otherwise("0") for field in FIELDS)
    sha256 = F.create_map(*(F.lit(value) for pair in keys.items() for value in pair))[F.concat(*filled, "source")]
    version = F.coalesce("old_text_version", F.lit(0)) + _differs("text_sha256").cast("int")
    valued = items.withColumns({"text_version": version, "tokenizer_sha256": sha256})
    outdated = _differs("text_sha256") | _differs("tokenizer_sha256") | _differs("canonical_row")
    return valued.where(outdated)


def _marks(filled: Sequence[str]) -> str:
    return "".join(str(int(field in filled)) for field in FIELDS)


def _differs(name: str) -> Column:
    return ~F.col(name).eqNullSafe(F.col(f"old_{name}"))
