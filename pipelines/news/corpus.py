"""Counts how rare each word of a source's field is: once, and again only on request.

idf as SpeedyFeed (Xiao et al., WWW 2022) takes it from BM25: ln(N - df + .5) - ln(df + .5); if that is not positive, a
quarter of the mean positive idf.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

import pandas as pd
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from pipelines.delta.table_ddl import literal
from pipelines.lake.tables import Lake
from pipelines.news.refine import words_of
from schemas.news import CORPUS_STATISTICS, FIELDS

ALL = ""  # the word whose row counts the texts with any word
_COUNTS = "field string, word string, texts_with long"
_IDF = "source string, field string, of_all boolean, texts_with long, idf double"
_OF_FIELD = ["source", "field"]
_FREQUENT_SHARE = 0.25  # of the mean positive idf: the idf of a word in half of all texts or more


def word_counts(news: DataFrame, fields: Sequence[str], *, of: str = "source") -> DataFrame:
    """(source, field, word, texts_with): the number of texts with each word; the empty word counts texts with any word.

    `of`: a string column to group by instead of the source. Python splits the words, because Java defines letters
    differently.
    """

    def count(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            counts: Counter[tuple[str, str, str]] = Counter()
            sources = batch[of].to_pylist()
            for field in fields:
                for source, text in zip(sources, batch[field].to_pylist(), strict=True):
                    words = set(words_of(text))
                    counts.update((source, field, word) for word in words)
                    if text:
                        counts[source, field, ALL] += bool(words)  # a field with only emoji has a corpus too
            rows = [(*key, number) for key, number in counts.items()]
            columns = [list(column) for column in zip(*rows, strict=True)] or [[], [], [], []]
            types = (pa.string(), pa.string(), pa.string(), pa.int64())
            arrays = [pa.array(values, kind) for values, kind in zip(columns, types, strict=True)]
            yield pa.RecordBatch.from_arrays(arrays, [of, "field", "word", "texts_with"])

    counted = news.select(of, *fields).mapInArrow(count, f"{of} string, {_COUNTS}")
    return counted.groupBy(of, "field", "word").agg(F.sum("texts_with").alias("texts_with"))


def with_idf(counts: DataFrame) -> DataFrame:
    """Adds idf to word_counts' rows. The empty word's row gets the idf of a word in none of the texts."""
    kind = [*_OF_FIELD, "of_all", "texts_with"]  # words in the same number of texts have the same idf
    each = counts.withColumn("of_all", F.col("word") == ALL)
    kinds = each.groupBy(*kind).agg(F.count("*").alias("words"))
    with_idf = kinds.groupBy(*_OF_FIELD).applyInPandas(_idf_of_kinds, _IDF)
    return each.join(with_idf, kind, how="inner").select(*_OF_FIELD, "word", "texts_with", "idf")


def ensure_corpora(
    lake: Lake, news: DataFrame, texts: Mapping[str, int], *, source: str, recount: bool = False
) -> dict[str, int]:
    """Field -> number of its corpus, for fields of `texts` with text or a corpus. Counts the missing corpora from
    `news`, which are all of the source; with `recount`, those of all fields with text."""
    stored = {field: number for (name, field), (number, _) in stored_corpora(lake).items() if name == source}
    missing = [field for field, count in texts.items() if count and (recount or field not in stored)]
    if missing:
        stored |= dict.fromkeys(missing, _write_corpora(lake, news, source, missing))
    return {field: stored[field] for field in texts if field in stored}


def count_texts(news: DataFrame) -> dict[str, int]:
    """Field -> number of news with text there."""
    counted = news.agg(*(F.count_if(F.col(field) != "").alias(field) for field in FIELDS)).collect()
    return {field: counted[0][field] for field in FIELDS}


def stored_corpora(lake: Lake) -> dict[tuple[str, str], tuple[int, int]]:
    """(source, field) -> number of its corpus, and the number of texts counted there."""
    if not lake.exists(CORPUS_STATISTICS):
        return {}
    rows = lake.read(CORPUS_STATISTICS).where(F.col("word") == ALL)
    counted = rows.select(*_OF_FIELD, "corpus", "texts_with").collect()
    return {(row["source"], row["field"]): (row["corpus"], row["texts_with"]) for row in counted}


def _write_corpora(lake: Lake, news: DataFrame, source: str, fields: Sequence[str]) -> int:
    """Replace the corpora of these fields of the source in one commit, whose version is their number."""
    number = lake.version(CORPUS_STATISTICS) + 1 if lake.exists(CORPUS_STATISTICS) else 1
    counted = word_counts(news, fields).transform(with_idf).withColumn("corpus", F.lit(number))
    names = ", ".join(map(literal, fields))
    lake.overwrite(CORPUS_STATISTICS, counted, where=f"source = {literal(source)} AND field IN ({names})")
    return number


def _idf_of_kinds(kinds: pd.DataFrame) -> pd.DataFrame:
    """Adds idf to the kinds of words of one field, in Python: engines differ in the last bit of logarithms and sums."""
    of_all, texts_with = kinds["of_all"].tolist(), kinds["texts_with"].tolist()
    texts = texts_with[of_all.index(True)]
    raw = [_raw_idf(texts, 0 if every else count) for every, count in zip(of_all, texts_with, strict=True)]
    words = [0 if every else count for every, count in zip(of_all, kinds["words"].tolist(), strict=True)]
    positive = [(idf * count, count) for idf, count in zip(raw, words, strict=True) if idf > 0 and count]
    total = sum(count for _, count in positive)
    frequent = math.fsum(idf for idf, _ in positive) / total * _FREQUENT_SHARE if positive else 1.0
    return kinds.drop(columns="words").assign(idf=[idf if idf > 0 else frequent for idf in raw])


def _raw_idf(texts: int, texts_with: int) -> float:
    return math.log(texts - texts_with + 0.5) - math.log(texts_with + 0.5)
