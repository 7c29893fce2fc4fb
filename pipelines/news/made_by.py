"""By what each item's tokens are made: settings, and its source's language and corpora; noted on ITEM_TOKENS."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from pyspark.sql import DataFrame

from pipelines.news.corpus import Texts, kept_corpora, texts_of
from pipelines.news.segmenting import Language, NewsConfig, Segmenting
from pipelines.notes import NewsNote, noted
from pipelines.tables import Lake
from schemas.news import CORPUS_STATISTICS, FIELDS, ITEM_TOKENS

NOTE = "made_from"
FIRST_LANGUAGE = "en"  # of a source of which no other was told

Filled = tuple[str, ...]  # the fields of an item that hold text


@dataclass(frozen=True, slots=True)
class MadeBy:
    """What decides the rows of ITEM_TOKENS."""

    config: NewsConfig
    segmenting: Segmenting
    tokens: Mapping[str, Any]  # the segmenting, described
    languages: Mapping[str, Language]  # by source
    texts: Texts

    def sha256_of(self) -> dict[tuple[str, Filled], str]:
        """(source, fields that hold text) -> the hash of all that such an item is made by."""
        near = self.config.near_duplicates
        filled = [fields for count in range(len(FIELDS) + 1) for fields in combinations(FIELDS, count)]
        return {
            (source, fields): self.segmenting.sha256(language, fields, near_duplicates=near)
            for source, language in self.languages.items()
            for fields in filled
        }

    def note(self, lake: Lake, sha256_of: Mapping[tuple[str, Filled], str]) -> None:
        """Note it on ITEM_TOKENS: pack refuses rows that are not made by what stands there."""
        sources = {
            name: {
                "language": found.language,
                "corpora": found.corpora,
                "sha256": sorted({sha256 for (source, _), sha256 in sha256_of.items() if source == name}),
            }
            for name, found in self.languages.items()
        }
        made = {"tokens": self.tokens, "sources": sources, "near_duplicates": self.config.near_duplicates}
        lake.note(ITEM_TOKENS, NOTE, json.dumps(made, sort_keys=True))


def made_by(lake: Lake, config: NewsConfig, segmenting: Segmenting, news: DataFrame, *, source: str) -> MadeBy:
    """What all sources of NEWS are made by now; corpora that are missing or asked for anew are counted.

    `config`'s language and new corpus concern `source` alone; the others keep theirs.
    """
    before = noted(lake, ITEM_TOKENS, NOTE, NewsNote) if lake.exists(ITEM_TOKENS) else {}
    languages_before = {name: told.get("language") for name, told in before.get("sources", {}).items()}
    known = {name: language for name, language in languages_before.items() if language}
    if config.language is not None:
        known[source] = config.language
    texts = texts_of(news)
    chosen = {name: {field: counts[field] for field in segmenting.fields} for name, counts in texts.items()}
    renewed = source if config.new_corpus else None
    corpora = kept_corpora(lake, news, chosen, renewed=renewed) if segmenting.refines else {}
    statistics = lake.table_id(CORPUS_STATISTICS) if corpora and lake.exists(CORPUS_STATISTICS) else ""
    languages = {
        name: Language(language=known.get(name, FIRST_LANGUAGE), corpora=corpora.get(name, {}), statistics=statistics)
        for name in sorted(texts)
    }
    return MadeBy(config, segmenting, segmenting.described(), languages, texts)
