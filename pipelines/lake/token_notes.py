"""Token notes: what ITEM_TOKENS notes of each source, by whose settings its items were made."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pipelines.lake.notes import NewsNote, noted
from pipelines.lake.tables import Lake
from schemas.news import ITEM_TOKENS

_NOTE = "made_from"
_INPUT = "input"


def noted_sources(lake: Lake) -> dict[str, dict[str, Any]]:
    """Source -> its settings (`tokens`, `tokenizer`, `language`, `near_duplicates`), `corpora`, rows' `sha256`."""
    return {
        source: {name: value for name, value in made.items() if name != _INPUT}
        for source, made in _sources(lake).items()
    }


def noted_inputs(lake: Lake) -> dict[str, dict[str, Any]]:
    """Source -> what its last run was made of (`made_of`), the `versions` of the news tables that it left, the
    `summary` of a run that finds them so, and `texts`, how many news hold each field; empty of an older feedloop."""
    return {source: made.get(_INPUT, {}) for source, made in _sources(lake).items()}


def note_source(
    lake: Lake, source: str, made: Mapping[str, Any], inputs: Mapping[str, Mapping[str, Any]] | None = None
) -> None:
    """Note by what the items of one source are made; what is noted of the others stays, but for those `inputs`."""
    known = _sources(lake)
    kept = {_INPUT: known[source][_INPUT]} if _INPUT in known.get(source, {}) else {}
    sources = known | {source: kept | dict(made)}
    for name, found in (inputs or {}).items():
        sources[name] = {**sources[name], _INPUT: dict(found)}
    lake.note(ITEM_TOKENS, _NOTE, json.dumps({"sources": sources}, sort_keys=True))


def _sources(lake: Lake) -> dict[str, dict[str, Any]]:
    found = noted(lake, ITEM_TOKENS, _NOTE, NewsNote) if lake.exists(ITEM_TOKENS) else {}
    sources: dict[str, dict[str, Any]] = found.get("sources", {})
    if "tokens" in found:  # an older feedloop made the items of all sources by the same settings
        of_all = {"tokens": found["tokens"], "near_duplicates": found.get("near_duplicates")}
        sources = {name: of_all | own for name, own in sources.items()}
    return sources
