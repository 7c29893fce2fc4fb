"""Records what makes the items of a source, in a note on ITEM_TOKENS: its settings, language and corpora."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from pyspark.sql import DataFrame

from pipelines.lake.tables import Lake
from pipelines.news.corpus import ensure_corpora
from pipelines.news.segmenting import Language, Segmenting
from pipelines.news.settings import ResolvedSettings, tokenizer_place
from schemas.news import CORPUS_STATISTICS, FIELDS

Filled = tuple[str, ...]  # the fields of an item with text


@dataclass(frozen=True, slots=True)
class Provenance:
    """Everything that decides the rows of ITEM_TOKENS of one source."""

    source: str
    tokenizer: str
    near_duplicates: float | None
    segmenting: Segmenting
    tokens: Mapping[str, Any]  # the segmenting, described
    language: Language
    texts: Mapping[str, int]  # field -> number of news with text there

    def sha256_of(self) -> dict[tuple[str, Filled], str]:
        """(source, fields with text) -> hash of everything that makes such an item."""
        filled = [fields for count in range(len(FIELDS) + 1) for fields in combinations(FIELDS, count)]
        return {
            (self.source, fields): self.segmenting.sha256(self.language, fields, near_duplicates=self.near_duplicates)
            for fields in filled
        }

    def noted(self) -> dict[str, Any]:
        """The note on ITEM_TOKENS; pack rejects rows of the source that were made otherwise."""
        return {
            "tokens": dict(self.tokens),
            "tokenizer": self.tokenizer,
            "near_duplicates": self.near_duplicates,
            "language": self.language.language,
            "corpora": dict(self.language.corpora),
            "sha256": sorted(set(self.sha256_of().values())),
        }


def resolve_provenance(
    lake: Lake, settings: ResolvedSettings, news: DataFrame, texts: Mapping[str, int], *, source: str
) -> Provenance:
    """The provenance of the items of `news`, which are all of the source. Counts missing corpora.

    `texts`: field -> number of news with text there.
    """
    corpora: Mapping[str, int] = {}
    if settings.segmenting.refines:
        chosen = {field: texts[field] for field in settings.segmenting.fields}
        corpora = ensure_corpora(lake, news, chosen, source=source, recount=settings.config.new_corpus)
    return _provenance(lake, settings, corpora, texts, source=source)


def noted_provenance(lake: Lake, settings: ResolvedSettings, noted: Mapping[str, Any], *, source: str) -> Provenance:
    """The provenance under these settings with the noted corpora, without counts of texts."""
    return _provenance(lake, settings, noted["corpora"], {}, source=source)


def _provenance(
    lake: Lake, settings: ResolvedSettings, corpora: Mapping[str, int], texts: Mapping[str, int], *, source: str
) -> Provenance:
    config, segmenting = settings.config, settings.segmenting
    assert config.tokenizer is not None, "resolved settings have no open option"
    assert config.language is not None, "resolved settings have no open option"
    statistics = lake.table_id(CORPUS_STATISTICS) if corpora and lake.exists(CORPUS_STATISTICS) else ""
    return Provenance(
        source,
        tokenizer_place(config.tokenizer),
        config.near_duplicates or None,
        segmenting,
        segmenting.describe(),
        Language(language=config.language, corpora=corpora, statistics=statistics),
        texts,
    )
