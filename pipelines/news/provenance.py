"""By what the items of a source are made: its settings, language and corpora; noted on ITEM_TOKENS."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from pyspark.sql import DataFrame

from pipelines.lake.tables import Lake
from pipelines.news.corpus import kept_corpora
from pipelines.news.segmenting import Language, Segmenting
from pipelines.news.settings import Settled, tokenizer_place
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

    def noted(self) -> dict[str, Any]:
        """As ITEM_TOKENS notes it: pack refuses rows of the source that are not made by what stands there."""
        return {
            "tokens": dict(self.tokens),
            "tokenizer": self.tokenizer,
            "near_duplicates": self.near_duplicates,
            "language": self.language.language,
            "corpora": dict(self.language.corpora),
            "sha256": sorted(set(self.sha256_of().values())),
        }


def made_by(lake: Lake, settled: Settled, news: DataFrame, texts: Mapping[str, int], *, source: str) -> MadeBy:
    """By what the items of `news`, which are all of the source, are made; lacking corpora are counted.

    `texts`: field -> how many news have text there.
    """
    chosen = {field: texts[field] for field in settled.segmenting.fields}
    renewed = settled.config.new_corpus
    refines = settled.segmenting.refines
    corpora = kept_corpora(lake, news, chosen, source=source, renewed=renewed) if refines else {}
    return _made_by(lake, settled, corpora, texts, source=source)


def noted_made_by(lake: Lake, settled: Settled, noted: Mapping[str, Any], *, source: str) -> MadeBy:
    """By what they would be made with the corpora that are noted for them; it says nothing of texts."""
    return _made_by(lake, settled, noted["corpora"], {}, source=source)


def _made_by(
    lake: Lake, settled: Settled, corpora: Mapping[str, int], texts: Mapping[str, int], *, source: str
) -> MadeBy:
    config, segmenting = settled.config, settled.segmenting
    assert config.tokenizer is not None, "nothing is left open"
    assert config.language is not None, "nothing is left open"
    statistics = lake.table_id(CORPUS_STATISTICS) if corpora and lake.exists(CORPUS_STATISTICS) else ""
    return MadeBy(
        source,
        tokenizer_place(config.tokenizer),
        config.near_duplicates or None,
        segmenting,
        segmenting.described(),
        Language(language=config.language, corpora=corpora, statistics=statistics),
        texts,
    )
