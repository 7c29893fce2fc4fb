"""Finds items whose texts share nearly all word shingles, by MinHash, and folds them into the earliest one."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from hashlib import blake2b

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from pipelines.engine.scratch import Keep
from pipelines.news.refine import words_of

SHINGLE_WORDS = 3
_MISSED = 1e-3  # maximum share of pairs at the threshold that share no band
_MOST_BANDS, _LONGEST_BAND = 24, 6
_SEED = 1
_SHINGLES = "item_row int, content binary, shingles array<long>"
_PAIRS = ("late", "early", "similarity")

HashArray = NDArray[np.uint64]


def near_duplicates(items: DataFrame, fields: Sequence[str], *, threshold: float, keep: Keep) -> DataFrame:
    """NEAR_DUPLICATES of items (item_row and text fields, one of each text): Jaccard similarity >= threshold.

    In order of their rows, each item is folded into the first kept item that is similar enough. So a chain of small
    changes does not fold its two ends together, and a new item never moves an earlier one. One task reads the pairs
    one after another, 24 bytes each. Items with equal shingles make no pairs; n items that are all nearly alike make
    n * n / 2.
    """
    sets = keep(shingled(items, fields))
    same = sets.groupBy("content").agg(F.min("item_row").alias("first"))
    alike = sets.select("item_row", "content").join(same, "content", how="inner").select("item_row", "first")
    firsts = keep(sets.join(same, F.col("item_row") == F.col("first"), how="left_semi"))

    def fold(pairs: pd.DataFrame) -> pd.DataFrame:
        ordered = pairs.sort_values(["late", "early"])
        rows = fold_pairs(zip(*(ordered[name].tolist() for name in _PAIRS), strict=True))
        return pd.DataFrame(rows, columns=["first", "kept_row", "near"])

    pairs = similar_pairs(firsts, threshold=threshold).withColumn("all", F.lit(1))
    kept = pairs.groupBy("all").applyInPandas(fold, "first int, kept_row int, near double")
    found = alike.join(kept, "first", how="left").where("kept_row IS NOT NULL OR item_row != first")
    similarity = F.coalesce("near", F.lit(1.0)).alias("similarity")
    return keep(found.select("item_row", F.coalesce("kept_row", "first").alias("kept_row"), similarity))


def fold_pairs(pairs: Iterable[tuple[int, int, float]]) -> list[tuple[int, int, float]]:
    """(item row, kept row, similarity) from sorted pairs (later row, earlier row, similarity)."""
    kept: dict[int, tuple[int, float]] = {}
    for late, early, similarity in pairs:
        if late not in kept and early not in kept:
            kept[late] = early, similarity
    return [(late, early, similarity) for late, (early, similarity) in kept.items()]


def shingled(items: DataFrame, fields: Sequence[str]) -> DataFrame:
    """(item_row, content, shingles): ascending shingle hashes of each item with words; `content` is their joint
    hash."""

    def shingle(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            texts = zip(*(batch[field].to_pylist() for field in fields), strict=True)
            sets = [_hashed(_shingles(" ".join(parts))) for parts in texts]
            content = [blake2b(each.tobytes(), digest_size=16).digest() for each in sets]
            lists = pa.array([each.astype(np.int64) for each in sets], pa.list_(pa.int64()))
            columns = [batch["item_row"], pa.array(content, pa.binary()), lists]
            yield pa.RecordBatch.from_arrays(columns, ["item_row", "content", "shingles"])

    made = items.select("item_row", *fields).mapInArrow(shingle, _SHINGLES)
    return made.where(F.size("shingles") > 0)


def similar_pairs(items: DataFrame, *, threshold: float) -> DataFrame:
    """(late, early, similarity) of all pairs of item rows whose shingle sets reach the threshold.

    Compares only sets that share a band: a few consecutive MinHashes. Reads the items several times.
    """
    bands, width = bands_for(threshold)

    def mark(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            rows = np.repeat(batch["item_row"].to_numpy(), bands)
            keys = band_keys(batch["shingles"], bands, width).astype(np.int64).ravel()
            yield pa.RecordBatch.from_arrays([pa.array(rows, pa.int32()), pa.array(keys)], ["row", "band"])

    marked = items.mapInArrow(mark, "row int, band long")
    first, second = (
        marked.select(F.col("row").alias("late"), "band"),
        marked.select(F.col("row").alias("early"), "band"),
    )
    met = first.join(second, "band", how="inner").where("late > early").select("late", "early").distinct()
    of_late, of_early = (
        items.select(F.col("item_row").alias(name), F.col("shingles").alias(f"{name}_set"))
        for name in ("late", "early")
    )
    both = met.join(of_late, "late", how="inner").join(of_early, "early", how="inner")
    shared = F.size(F.array_intersect("late_set", "early_set"))
    similarity = shared / (F.size("late_set") + F.size("early_set") - shared)
    return both.select("late", "early", similarity.alias("similarity")).where(F.col("similarity") >= threshold - 1e-9)


def bands_for(threshold: float) -> tuple[int, int]:
    """(bands, MinHashes per band) such that a pair at the threshold shares a band, except for a share of `_MISSED`."""
    for width in range(_LONGEST_BAND, 0, -1):
        bands = max(1, math.ceil(math.log(_MISSED) / math.log(max(1 - threshold**width, _MISSED))))
        if bands <= _MOST_BANDS or width == 1:
            break
    return bands, width


def band_keys(sets: pa.ListArray, bands: int, width: int) -> HashArray:
    """(sets, bands): a hash of each band's number and its MinHashes. No set is empty."""
    starts = np.concatenate([[0], np.cumsum(sets.value_lengths().to_numpy())[:-1]]).astype(np.int64)
    shingle = sets.flatten().to_numpy().astype(np.uint64)
    keys = np.empty((len(sets), bands), np.uint64)
    for band in range(bands):
        key: HashArray = np.full(len(sets), band, np.uint64)
        for seed in range(band * width, (band + 1) * width):
            mixed_seed = _mixed(np.array([seed + (_SEED << 32)], np.uint64))
            key = _mixed(key ^ np.minimum.reduceat(_mixed(shingle ^ mixed_seed), starts))
        keys[:, band] = key
    return keys


def _mixed(value: HashArray) -> HashArray:
    """splitmix64's finisher: similar numbers get unrelated hashes."""
    with np.errstate(over="ignore"):
        value = (value + np.uint64(0x9E3779B97F4A7C15)).astype(np.uint64)
        value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return np.asarray(value ^ (value >> np.uint64(31)), np.uint64)


def _hashed(shingles: set[str]) -> HashArray:
    digests = b"".join(blake2b(text.encode(), digest_size=8).digest() for text in shingles)
    return np.unique(np.frombuffer(digests, "<u8").astype(np.uint64))


def _shingles(text: str) -> set[str]:
    words = [word for word in words_of(text) if word.strip(".,!?;|")]
    count = max(1, len(words) - SHINGLE_WORDS + 1) if words else 0
    return {" ".join(words[start : start + SHINGLE_WORDS]) for start in range(count)}
