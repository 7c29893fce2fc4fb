"""Token notes: what ITEM_TOKENS notes of each source, by whose settings its items were made."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pipelines.notes import NewsNote, noted
from pipelines.tables import Lake
from schemas.news import ITEM_TOKENS

_NOTE = "made_from"


def noted_sources(lake: Lake) -> dict[str, dict[str, Any]]:
    """Source -> its settings (`tokens`, `tokenizer`, `language`, `near_duplicates`), `corpora`, rows' `sha256`."""
    found = noted(lake, ITEM_TOKENS, _NOTE, NewsNote) if lake.exists(ITEM_TOKENS) else {}
    sources: dict[str, dict[str, Any]] = found.get("sources", {})
    if "tokens" in found:  # an older feedloop made the items of all sources by the same settings
        of_all = {"tokens": found["tokens"], "near_duplicates": found.get("near_duplicates")}
        sources = {name: of_all | own for name, own in sources.items()}
    return sources


def note_source(lake: Lake, source: str, made: Mapping[str, Any]) -> None:
    """Note by what the items of one source are made; what is noted of the others stays."""
    sources = noted_sources(lake) | {source: dict(made)}
    lake.note(ITEM_TOKENS, _NOTE, json.dumps({"sources": sources}, sort_keys=True))
