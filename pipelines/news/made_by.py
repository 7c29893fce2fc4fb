"""By what the items of a source are made: its settings, language and corpora; noted on ITEM_TOKENS."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from pyspark.sql import DataFrame

from pipelines.news.corpus import kept_corpora, texts_of
from pipelines.news.segmenting import Language, Segmenting
from pipelines.news.settings import Settled, tokenizer_place
from pipelines.tables import Lake
from pipelines.token_notes import note_source
from schemas.news import CORPUS_STATISTICS, FIELDS

Filled = tuple[str, ...]  # the fields of an item that hold text


@dataclass(frozen=True, slots=True)
class MadeBy:
    """What decides the rows of ITEM_TOKENS of one source."""

    source: str
    tokenizer: str
    near_duplicates: float | None
    segmenting: Segmenting
    tokens: Mapping[str, Any]  # the segmenting, described
    language: Language
    texts: Mapping[str, int]  # field -> how many news have text there

    def sha256_of(self) -> dict[tuple[str, Filled], str]:
        """(source, fields that hold text) -> the hash of all that such an item is made by."""
        filled = [fields for count in range(len(FIELDS) + 1) for fields in combinations(FIELDS, count)]
        return {
            (self.source, fields): self.segmenting.sha256(self.language, fields, near_duplicates=self.near_duplicates)
            for fields in filled
        }

    def note(self, lake: Lake, sha256_of: Mapping[tuple[str, Filled], str]) -> None:
        """Note it on ITEM_TOKENS: pack refuses rows of the source that are not made by what stands there."""
        made = {
            "tokens": self.tokens,
            "tokenizer": self.tokenizer,
            "near_duplicates": self.near_duplicates,
            "language": self.language.language,
            "corpora": self.language.corpora,
            "sha256": sorted(set(sha256_of.values())),
        }
        note_source(lake, self.source, made)


def made_by(lake: Lake, settled: Settled, news: DataFrame, *, source: str) -> MadeBy:
    """By what the items of `news`, which are all of the source, are made; lacking corpora are counted."""
    config, segmenting = settled.config, settled.segmenting
    assert config.tokenizer is not None, "nothing is left open"
    assert config.language is not None, "nothing is left open"
    texts = texts_of(news)
    chosen = {name: {field: counts[field] for field in segmenting.fields} for name, counts in texts.items()}
    renewed = source if config.new_corpus else None
    corpora = kept_corpora(lake, news, chosen, renewed=renewed) if segmenting.refines else {}
    statistics = lake.table_id(CORPUS_STATISTICS) if corpora and lake.exists(CORPUS_STATISTICS) else ""
    return MadeBy(
        source,
        tokenizer_place(config.tokenizer),
        config.near_duplicates or None,
        segmenting,
        segmenting.described(),
        Language(language=config.language, corpora=corpora.get(source, {}), statistics=statistics),
        texts.get(source, {}),
    )
