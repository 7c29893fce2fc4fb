"""Near-duplicates: items whose texts share nearly all word shingles, found by MinHash, folded into the earliest one."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

import pyarrow as pa
from pyspark.ml.feature import HashingTF, MinHashLSH
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from pipelines.news.refine import words_of
from schemas.as_spark import spark_schema
from schemas.news import NEAR_DUPLICATES

SHINGLE_WORDS = 3
_MISSED = 1e-3  # share of pairs at the threshold that no hash table brings together, at most
_FEATURES = 1 << 28  # so many that two shingles rarely share one
_SEED = 1
_SHINGLES = "item_row int, shingles array<string>"


def near_duplicates(items: DataFrame, fields: Sequence[str], *, threshold: float) -> DataFrame:
    """NEAR_DUPLICATES of items (item_row and text fields, one of each text): Jaccard similarity >= threshold.

    Items are taken in order of their rows, and each is folded into the first kept one that is similar enough. So a
    chain of small changes does not make one item of its two ends, and a new item never moves an earlier one. The driver
    sees the pairs one after another and keeps the folded items; n items that are all alike make n * n / 2 pairs.
    """
    sets = shingled(items, fields).persist()
    pairs = (
        () if sets.isEmpty() else similar_pairs(sets, threshold=threshold).orderBy("late", "early").toLocalIterator()
    )
    rows = folded((row["late"], row["early"], row["similarity"]) for row in pairs)
    sets.unpersist()
    return items.sparkSession.createDataFrame(rows, spark_schema(NEAR_DUPLICATES))


def folded(pairs: Iterable[tuple[int, int, float]]) -> list[tuple[int, int, float]]:
    """(item row, kept row, similarity) of the (later row, earlier row, similarity) pairs, which come in this order."""
    kept: dict[int, tuple[int, float]] = {}
    for late, early, similarity in pairs:
        if late not in kept and early not in kept:
            kept[late] = early, similarity
    return [(late, early, similarity) for late, (early, similarity) in kept.items()]


def shingled(items: DataFrame, fields: Sequence[str]) -> DataFrame:
    """(item_row, shingles): the sets of consecutive words of each item that has any; one of all where they are few."""

    def shingle(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            texts = zip(*(batch[field].to_pylist() for field in fields), strict=True)
            sets = [sorted(_shingles(" ".join(parts))) for parts in texts]
            yield pa.RecordBatch.from_arrays([batch["item_row"], pa.array(sets, pa.list_(pa.string()))], _NAMES)

    made = items.select("item_row", *fields).mapInArrow(shingle, _SHINGLES)
    return made.where(F.size("shingles") > 0)


def similar_pairs(items: DataFrame, *, threshold: float) -> DataFrame:
    """(late, early, similarity) of all pairs of item rows whose shingle sets are at least so similar."""
    tables = max(1, math.ceil(math.log(_MISSED) / math.log(max(1 - threshold, _MISSED))))
    counting = HashingTF(inputCol="shingles", outputCol="set", binary=True, numFeatures=_FEATURES)
    hashing = MinHashLSH(inputCol="set", outputCol="hashes", numHashTables=tables, seed=_SEED)
    sets = counting.transform(items).select("item_row", "set")
    model = hashing.fit(sets)
    distance = 1 - threshold + 1e-9  # the join keeps what is below it
    joined = model.approxSimilarityJoin(sets, sets, distance, distCol="distance")
    late, early = F.col("datasetA.item_row"), F.col("datasetB.item_row")
    similarity = (1 - F.col("distance")).alias("similarity")
    return joined.where(late > early).select(late.alias("late"), early.alias("early"), similarity)


_NAMES = ["item_row", "shingles"]


def _shingles(text: str) -> set[str]:
    words = [word for word in words_of(text) if word.strip(".,!?;|")]
    count = max(1, len(words) - SHINGLE_WORDS + 1) if words else 0
    return {" ".join(words[start : start + SHINGLE_WORDS]) for start in range(count)}
