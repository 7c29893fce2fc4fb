"""Tokenises changed items into rows of ITEM_TOKENS; long fields are refined by their corpus."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import pandas as pd
import pyarrow as pa
from pyspark.sql import DataFrame

from pipelines.engine.expressions import bucket_of
from pipelines.news.corpus import ALL, word_counts
from pipelines.news.refine import Corpus
from pipelines.news.segment import Refinement, Segmenter, segment_columns
from pipelines.news.segmenting import Segmenting
from schemas.as_spark import spark_schema
from schemas.news import ITEM_TOKENS

CHUNK_ITEMS = 2048  # approximate items that one task refines: of a corpus it holds only their words
_ITEM = ("source", "item_id", "item_row", "canonical_row", "text_sha256", "text_version", "tokenizer_sha256")


def tokenised(items: DataFrame, segmenting: Segmenting) -> DataFrame:
    """The rows of ITEM_TOKENS; a field that is too long keeps its start."""

    def tokenise(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        segmenter = Segmenter(segmenting, {})  # once per task
        for batch in batches:
            yield pa.RecordBatch.from_pydict(_rows(segmenter, segmenting, {n: batch[n] for n in batch.schema.names}))

    return items.select(*_ITEM, *segmenting.fields).mapInArrow(tokenise, spark_schema(ITEM_TOKENS))


def refined(
    items: DataFrame, segmenting: Segmenting, corpora: DataFrame, stop_words: frozenset[str], *, chunks: int
) -> DataFrame:
    """The rows of ITEM_TOKENS; a field that is too long keeps its best words by `corpora` (field, word, idf).

    Items are divided into chunks by hash, and each chunk is joined with the weights of its own words: a corpus may
    exceed a task's memory.
    """
    fields = segmenting.fields
    dealt = items.withColumn("chunk", bucket_of("item_id", chunks).cast("string"))
    words = word_counts(dealt, fields, of="chunk").select("chunk", "field", "word")  # with the empty word
    weights = words.join(corpora.select("field", "word", "idf"), ["field", "word"], how="inner")

    def tokenise(chunk: pd.DataFrame, weighed: pd.DataFrame) -> pd.DataFrame:
        idf = {field: dict(zip(own["word"], own["idf"], strict=True)) for field, own in weighed.groupby("field")}
        held = {str(field): Corpus(of_words, of_words.pop(ALL)) for field, of_words in idf.items()}
        refinements = dict.fromkeys(chunk["source"].unique(), Refinement(stop_words, held))
        columns = {name: pa.array(chunk[name]) for name in (*_ITEM, *fields)}
        made = _rows(Segmenter(segmenting, refinements), segmenting, columns)
        return pd.DataFrame({name: pd.Series(array.to_pylist(), dtype=object) for name, array in made.items()})

    asked = dealt.select("chunk", *_ITEM, *fields).groupBy("chunk")
    return asked.cogroup(weights.groupBy("chunk")).applyInPandas(tokenise, spark_schema(ITEM_TOKENS))


def _rows(segmenter: Segmenter, segmenting: Segmenting, columns: Mapping[str, pa.Array]) -> dict[str, pa.Array]:
    texts = {name: columns[name].to_pylist() for name in segmenting.fields}
    known = dict(columns) | segment_columns(segmenter, columns["source"].to_pylist(), texts)
    known["tokens_version"] = pa.repeat(pa.scalar(1, pa.int32()), len(columns["source"]))
    return {name: known[name] for name in ITEM_TOKENS.column_names}
