from __future__ import annotations

import json
import random
from itertools import combinations
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyspark.sql import SparkSession

from pipelines.engine.scratch import scratch
from pipelines.lake.tables import Lake
from pipelines.news.flow import prepare_news
from pipelines.news.near_duplicates import band_keys, bands_for, fold_pairs, near_duplicates, shingled, similar_pairs
from pipelines.news.segmenting import NewsConfig
from schemas.news import ITEM_TOKENS, NEAR_DUPLICATES
from tests.builders import rows


def texts(seed: int = 1) -> dict[int, str]:
    """Row -> text: ten stories, each in versions of which some words differ; one of a single word, one of none."""
    rng = random.Random(seed)
    words = [f"w{number}" for number in range(300)]
    stories = [rng.choices(words, k=30) for _ in range(10)]
    versions = [story for story in stories for _ in range(6)]
    rng.shuffle(versions)
    texts_of_rows = [[w if rng.random() > 0.02 else rng.choice(words) for w in story] for story in versions]
    return {row: " ".join(story) for row, story in enumerate([*texts_of_rows, ["one"], ["one", "!"], []], 1)}


def slow_similarity(first: str, second: str) -> float:
    sets = []
    for text in (first, second):
        words = [word for word in text.split() if word != "!"]
        sets.append({tuple(words[start : start + 3]) for start in range(max(1, len(words) - 2))})
    return len(sets[0] & sets[1]) / len(sets[0] | sets[1])


@pytest.mark.parametrize("threshold", [0.5, 0.8, 1.0])
def test_the_pairs_are_those_that_comparing_all_would_find(spark: SparkSession, threshold: float) -> None:
    texts_of_rows = texts()
    frame = spark.createDataFrame(list(texts_of_rows.items()), "item_row int, title string")
    pairs = similar_pairs(shingled(frame, ["title"]), threshold=threshold)
    found = {(row["late"], row["early"]): row["similarity"] for row in pairs.collect()}
    slow = {
        (late, early): similarity
        for early, late in combinations([row for row, text in texts_of_rows.items() if text], 2)
        if (similarity := slow_similarity(texts_of_rows[late], texts_of_rows[early])) >= threshold
    }
    assert found == pytest.approx(slow)
    assert found or threshold == 1.0


@given(st.sets(st.tuples(st.integers(1, 9), st.integers(1, 9)).filter(lambda pair: pair[0] > pair[1])))
def test_each_item_is_folded_into_the_first_kept_one_like_it(pairs: set[tuple[int, int]]) -> None:
    found = {late: early for late, early, _ in fold_pairs((late, early, 1.0) for late, early in sorted(pairs))}
    kept: list[int] = []
    for row in range(1, 10):
        like = [other for other in kept if (row, other) in pairs]
        assert found.get(row) == (like[0] if like else None)
        kept += [] if like else [row]


@pytest.mark.parametrize("threshold", [0.5, 0.8, 1.0])
def test_items_are_folded_as_comparing_all_in_order_of_their_rows_would(spark: SparkSession, threshold: float) -> None:
    texts_of_rows = texts(seed=2)
    texts_of_rows |= {row: texts_of_rows[row - 70].upper() for row in range(71, 91)}
    texts_of_rows |= dict.fromkeys(range(64, 71), "")  # the same shingles under later rows
    frame = spark.createDataFrame(list(texts_of_rows.items()), "item_row int, title string").repartition(3)
    with scratch() as keep:
        found = rows(near_duplicates(frame, ["title"], threshold=threshold, keep=keep))
    slow: dict[int, tuple[int, float]] = {}
    for late in sorted(row for row, text in texts_of_rows.items() if text):
        for early in range(1, late):
            similarity = (
                slow_similarity(texts_of_rows[late].lower(), texts_of_rows[early].lower())
                if texts_of_rows[early]
                else 0.0
            )
            if early not in slow and late not in slow and similarity >= threshold:
                slow[late] = early, similarity
    assert {row: (kept, similarity) for row, kept, similarity in found} == slow  # to the last bit
    assert len(slow) > 20


@pytest.mark.parametrize("threshold", [0.5, 0.65, 0.8, 0.9, 1.0])
def test_bands_miss_hardly_a_pair_at_the_threshold(threshold: float) -> None:
    bands, width = bands_for(threshold)
    assert (1 - threshold**width) ** bands <= 1e-3
    assert bands <= 24


def test_bands_are_shared_as_often_as_the_shingles_are_alike() -> None:
    rng = np.random.default_rng(1)
    shared, own = rng.integers(0, 1 << 62, (2, 400, 60))
    one, other = (pa.array([[*a[:40], *b[at : at + 20]] for a, b in zip(shared, own, strict=True)]) for at in (0, 20))
    same = band_keys(one, 10, 1) == band_keys(other, 10, 1)  # of 80 shingles, 40 are both's
    assert same.mean() == pytest.approx(0.5, abs=0.03)


def test_items_without_words_have_no_near_duplicates(spark: SparkSession) -> None:
    frame = spark.createDataFrame([(1, ""), (2, "! 😀")], "item_row int, title string")
    with scratch() as keep:
        assert near_duplicates(frame, ["title"], threshold=0.8, keep=keep).isEmpty()


def test_near_duplicates_share_a_canonical_row_as_long_as_it_is_asked_for(spark: SparkSession, tmp_path: Path) -> None:
    lake = Lake(spark, str(tmp_path / "lake"))
    long = "heavy rain is expected all over the northern coast this weekend"
    titles = {"a": long, "b": long + " again", "c": long.upper(), "d": "quite another title", "e": long + " again"}

    def prepare(threshold: float | None, **more: str) -> dict[str, object]:
        lines = [json.dumps({"news_id": name, "title": title}) for name, title in (titles | more).items()]
        (tmp_path / "news.jsonl").write_text("\n".join(lines))
        return prepare_news(lake, tmp_path, NewsConfig(near_duplicates=threshold), source="s")

    def canonical() -> list[int]:
        return sorted(row for (row,) in rows(lake.read(ITEM_TOKENS), "canonical_row"))

    assert prepare(None)["folded_items"] == 1
    assert not lake.exists(NEAR_DUPLICATES)
    assert canonical() == [1, 2, 2, 3, 4]
    counts = prepare(0.8)
    assert (counts["folded_items"], counts["retokenised_items"], counts["encodes_saved"]) == (3, 5, 0.6)
    assert canonical() == [1, 1, 1, 1, 4]
    near = counts["near_duplicates"]
    assert isinstance(near, dict)
    assert (near["threshold"], near["folded_texts"]) == (0.8, 2)
    assert near["least_similar"][0] == {
        "similarity": 0.9, "folded": "b", "folded_title": titles["b"], "kept": "a", "kept_title": long
    }  # fmt: skip
    assert {row for (row,) in rows(lake.read(ITEM_TOKENS), "tokens_version")} == {1}  # other settings, the same tokens
    more = prepare(0.8, f=long + " again", g=long + " once more")
    assert (more["new_items"], more["retokenised_items"]) == (2, 0)
    assert canonical() == [1, 1, 1, 1, 1, 1, 4]
    assert prepare(None)["folded_items"] == 5  # as it was made before
    assert prepare(0)["folded_items"] == 2
    assert lake.read(NEAR_DUPLICATES).isEmpty()
