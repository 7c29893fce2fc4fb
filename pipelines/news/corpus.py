"""Corpus statistics: how rare each word of a source's field is, counted once and kept until it is asked for anew.

idf as SpeedyFeed (Xiao et al., WWW 2022) takes it from BM25: ln(N - df + .5) - ln(df + .5); where that is not positive,
a quarter of the mean positive one.
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

ALL = ""  # the word whose row counts the texts that have any
_COUNTS = "field string, word string, texts_with long"
_IDF = "source string, field string, of_all boolean, texts_with long, idf double"
_OF_FIELD = ["source", "field"]
_FREQUENT_SHARE = 0.25  # of the mean positive idf: what a word in half of all texts or more is worth


def word_counts(news: DataFrame, fields: Sequence[str], *, of: str = "source") -> DataFrame:
    """(source, field, word, texts_with): in how many of the texts each word stands; the empty word: how many have any.

    `of`: by which column of strings they are counted instead of the source.

    Words are cut in Python, for Java's idea of a letter is another.
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
                        counts[source, field, ALL] += bool(words)  # a field of emoji alone has its corpus, too
            rows = [(*key, number) for key, number in counts.items()]
            columns = [list(column) for column in zip(*rows, strict=True)] or [[], [], [], []]
            types = (pa.string(), pa.string(), pa.string(), pa.int64())
            arrays = [pa.array(values, kind) for values, kind in zip(columns, types, strict=True)]
            yield pa.RecordBatch.from_arrays(arrays, [of, "field", "word", "texts_with"])

    counted = news.select(of, *fields).mapInArrow(count, f"{of} string, {_COUNTS}")
    return counted.groupBy(of, "field", "word").agg(F.sum("texts_with").alias("texts_with"))


def with_idf(counts: DataFrame) -> DataFrame:
    """Adds idf to word_counts' rows; the empty word's row gets that of a word which stands in none of the texts."""
    kind = [*_OF_FIELD, "of_all", "texts_with"]  # words that stand in as many texts have the same idf
    each = counts.withColumn("of_all", F.col("word") == ALL)
    weighed = each.groupBy(*kind).agg(F.count("*").alias("words")).groupBy(*_OF_FIELD).applyInPandas(_weighed, _IDF)
    return each.join(weighed, kind, how="inner").select(*_OF_FIELD, "word", "texts_with", "idf")


def kept_corpora(
    lake: Lake, news: DataFrame, texts: Mapping[str, int], *, source: str, renewed: bool = False
) -> dict[str, int]:
    """Field -> the number of its corpus, of the fields that hold `texts` or have one; those that are missing are made
    of `news`, which are all of the source, and with `renewed` all that hold text."""
    kept = {field: number for (name, field), (number, _) in held_corpora(lake).items() if name == source}
    lacking = [field for field, count in texts.items() if count and (renewed or field not in kept)]
    if lacking:
        kept |= dict.fromkeys(lacking, _make(lake, news, source, lacking))
    return {field: kept[field] for field in texts if field in kept}


def texts_of(news: DataFrame) -> dict[str, int]:
    """Field -> how many of the news have text there."""
    counted = news.agg(*(F.count_if(F.col(field) != "").alias(field) for field in FIELDS)).collect()
    return {field: counted[0][field] for field in FIELDS}


def held_corpora(lake: Lake) -> dict[tuple[str, str], tuple[int, int]]:
    """(source, field) -> the number of its corpus, and how many texts that counts."""
    if not lake.exists(CORPUS_STATISTICS):
        return {}
    rows = lake.read(CORPUS_STATISTICS).where(F.col("word") == ALL)
    counted = rows.select(*_OF_FIELD, "corpus", "texts_with").collect()
    return {(row["source"], row["field"]): (row["corpus"], row["texts_with"]) for row in counted}


def _make(lake: Lake, news: DataFrame, source: str, fields: Sequence[str]) -> int:
    """Replace the corpora of these fields of the source, in one commit; that commit's version is their number."""
    number = lake.version(CORPUS_STATISTICS) + 1 if lake.exists(CORPUS_STATISTICS) else 1
    counted = word_counts(news, fields).transform(with_idf).withColumn("corpus", F.lit(number))
    names = ", ".join(map(literal, fields))
    lake.overwrite(CORPUS_STATISTICS, counted, where=f"source = {literal(source)} AND field IN ({names})")
    return number


def _weighed(kinds: pd.DataFrame) -> pd.DataFrame:
    """Adds idf to the kinds of words of one field: in Python, as engines differ in the last bit of a logarithm, and in
    that of a sum."""
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
