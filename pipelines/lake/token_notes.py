"""Reads and writes the notes of ITEM_TOKENS: the settings by which each source's items were made."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pipelines.lake.notes import NewsNote, read_note
from pipelines.lake.tables import Lake
from schemas.news import ITEM_TOKENS

_NOTE = "made_from"
_INPUT = "input"


def noted_sources(lake: Lake) -> dict[str, dict[str, Any]]:
    """Source -> its settings (`tokens`, `tokenizer`, `language`, `near_duplicates`), `corpora`, the rows' `sha256`."""
    return {
        source: {name: value for name, value in made.items() if name != _INPUT}
        for source, made in _sources(lake).items()
    }


def noted_inputs(lake: Lake) -> dict[str, dict[str, Any]]:
    """Source -> its last run's inputs (`made_of`), the `versions` of the news tables that it left, the `summary` of a
    run that finds them unchanged, and `texts`, the number of news with each field; empty for an older feedloop."""
    return {source: made.get(_INPUT, {}) for source, made in _sources(lake).items()}


def note_source(
    lake: Lake, source: str, made: Mapping[str, Any], inputs: Mapping[str, Mapping[str, Any]] | None = None
) -> None:
    """Note by what the items of one source are made; notes of other sources stay, except those in `inputs`."""
    known = _sources(lake)
    kept = {_INPUT: known[source][_INPUT]} if _INPUT in known.get(source, {}) else {}
    sources = known | {source: kept | dict(made)}
    for name, found in (inputs or {}).items():
        sources[name] = {**sources[name], _INPUT: dict(found)}
    lake.note(ITEM_TOKENS, _NOTE, json.dumps({"sources": sources}, sort_keys=True))


def _sources(lake: Lake) -> dict[str, dict[str, Any]]:
    found = read_note(lake, ITEM_TOKENS, _NOTE, NewsNote) if lake.exists(ITEM_TOKENS) else {}
    sources: dict[str, dict[str, Any]] = found.get("sources", {})
    if "tokens" in found:  # an older feedloop made the items of all sources by the same settings
        of_all = {"tokens": found["tokens"], "near_duplicates": found.get("near_duplicates")}
        sources = {name: of_all | own for name, own in sources.items()}
    return sources
