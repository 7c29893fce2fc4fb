"""Corpus statistics: how rare each word of a source's field is, counted once and kept until it is asked for anew.

idf as SpeedyFeed (Xiao et al., WWW 2022) takes it from BM25: ln(N - df + .5) - ln(df + .5); where that is not positive,
a quarter of the mean positive one.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

import pyarrow as pa
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from pipelines.making import literal
from pipelines.news.refine import Corpus, words_of
from pipelines.tables import Lake
from schemas.news import CORPUS_STATISTICS, FIELDS

Texts = Mapping[str, Mapping[str, int]]  # source -> field -> how many news have text there
Numbers = Mapping[str, Mapping[str, int]]  # source -> field -> number of its corpus

_ALL = ""  # the word whose row counts the texts that have any
_COUNTS = "source string, field string, word string, texts_with long"
_OF_FIELD = ["source", "field"]
_FREQUENT_SHARE = 0.25  # of the mean positive idf: what a word in half of all texts or more is worth


def word_counts(news: DataFrame, fields: Sequence[str]) -> DataFrame:
    """(source, field, word, texts_with): in how many of the texts each word stands; the empty word: how many have any.

    Words are cut in Python, for Java's idea of a letter is another.
    """

    def count(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            counts: Counter[tuple[str, str, str]] = Counter()
            sources = batch["source"].to_pylist()
            for field in fields:
                for source, text in zip(sources, batch[field].to_pylist(), strict=True):
                    words = set(words_of(text))
                    counts.update((source, field, word) for word in words)
                    if text:
                        counts[source, field, _ALL] += bool(words)  # a field of emoji alone has its corpus, too
            rows = [(*key, number) for key, number in counts.items()]
            columns = [list(column) for column in zip(*rows, strict=True)] or [[], [], [], []]
            types = (pa.string(), pa.string(), pa.string(), pa.int64())
            arrays = [pa.array(values, kind) for values, kind in zip(columns, types, strict=True)]
            yield pa.RecordBatch.from_arrays(arrays, ["source", "field", "word", "texts_with"])

    counted = news.select("source", *fields).mapInArrow(count, _COUNTS)
    return counted.groupBy(*_OF_FIELD, "word").agg(F.sum("texts_with").alias("texts_with"))


def with_idf(counts: DataFrame) -> DataFrame:
    """Adds idf to word_counts' rows; the empty word's row gets that of a word which stands in none of the texts."""
    texts = counts.where(F.col("word") == _ALL).select(*_OF_FIELD, F.col("texts_with").alias("texts"))
    texts_with = F.when(F.col("word") == _ALL, F.lit(0)).otherwise(F.col("texts_with"))
    raw = counts.join(F.broadcast(texts), _OF_FIELD).withColumn("idf", _raw_idf(F.col("texts"), texts_with))
    positive = F.when((F.col("idf") > 0) & (F.col("word") != _ALL), F.col("idf"))
    frequent = raw.groupBy(*_OF_FIELD).agg((F.avg(positive) * _FREQUENT_SHARE).alias("frequent"))
    idf = F.when(F.col("idf") > 0, F.col("idf")).otherwise(F.coalesce("frequent", F.lit(1.0)))
    return raw.join(F.broadcast(frequent), _OF_FIELD).select(*_OF_FIELD, "word", "texts_with", idf.alias("idf"))


def kept_corpora(lake: Lake, news: DataFrame, texts: Texts, *, renewed: str | None = None) -> Numbers:
    """The corpora of the fields that hold `texts`; those that are missing, and all of source `renewed`, are made."""
    kept = {key: number for key, (number, _) in held_corpora(lake).items()}
    for source, counts in texts.items():
        filled = [field for field, count in counts.items() if count]
        lacking = [field for field in filled if source == renewed or (source, field) not in kept]
        if lacking:
            number = _make(lake, news.where(F.col("source") == source), source, lacking)
            kept |= {(source, field): number for field in lacking}
    return {
        source: {field: kept[source, field] for field in counts if (source, field) in kept}
        for source, counts in texts.items()
    }


def corpora_for(lake: Lake, news: DataFrame, fields: Sequence[str]) -> dict[str, dict[str, Corpus]]:
    """Source -> field -> its corpus, with no words but those of these news: as many as the driver can hold."""
    if not lake.exists(CORPUS_STATISTICS):
        return {}
    held = lake.read(CORPUS_STATISTICS)
    wanted = word_counts(news, fields).select(*_OF_FIELD, "word")  # it holds the empty word, too
    found = held.join(wanted, [*_OF_FIELD, "word"], how="left_semi").select(*_OF_FIELD, "word", "idf").toArrow()
    idf: dict[tuple[str, str], dict[str, float]] = defaultdict(dict)
    for source, field, word, value in zip(*(column.to_pylist() for column in found.columns), strict=True):
        idf[source, field][word] = value
    corpora: dict[str, dict[str, Corpus]] = defaultdict(dict)
    for (source, field), words in idf.items():
        corpora[source][field] = Corpus(words, words.pop(_ALL))
    return dict(corpora)


def texts_of(news: DataFrame) -> dict[str, dict[str, int]]:
    """Source -> field -> how many news have text there."""
    counted = news.groupBy("source").agg(*(F.count_if(F.col(field) != "").alias(field) for field in FIELDS))
    return {row["source"]: {field: row[field] for field in FIELDS} for row in counted.orderBy("source").collect()}


def held_corpora(lake: Lake) -> dict[tuple[str, str], tuple[int, int]]:
    """(source, field) -> the number of its corpus, and how many texts that counts."""
    if not lake.exists(CORPUS_STATISTICS):
        return {}
    rows = lake.read(CORPUS_STATISTICS).where(F.col("word") == _ALL)
    counted = rows.select(*_OF_FIELD, "corpus", "texts_with").collect()
    return {(row["source"], row["field"]): (row["corpus"], row["texts_with"]) for row in counted}


def _make(lake: Lake, news: DataFrame, source: str, fields: Sequence[str]) -> int:
    """Replace the corpora of these fields of the source, in one commit; that commit's version is their number."""
    number = lake.version(CORPUS_STATISTICS) + 1 if lake.exists(CORPUS_STATISTICS) else 1
    counted = word_counts(news, fields).transform(with_idf).withColumn("corpus", F.lit(number))
    names = ", ".join(map(literal, fields))
    lake.overwrite(CORPUS_STATISTICS, counted, where=f"source = {literal(source)} AND field IN ({names})")
    return number


def _raw_idf(texts: Column, texts_with: Column) -> Column:
    return F.log(texts - texts_with + 0.5) - F.log(texts_with + 0.5)
