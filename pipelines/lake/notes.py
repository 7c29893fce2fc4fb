"""The notes that stages leave on tables: JSON in a table's properties, where other programs can write too."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pipelines.lake.tables import Lake
from schemas.news import ITEM_TOKENS
from schemas.strict_json import Count, converted, json_value
from schemas.table import Table

_Plain = dict[str, Any]
_AGAIN = "Run the job that writes this table again"
_MADE_FROM = "made_from"  # the note of ITEM_TOKENS
_INPUT = "input"  # in it: what a source's last run read


@dataclass(frozen=True, slots=True, kw_only=True)
class TrajectoriesNote:
    """Note of EVALUATION, for each source: what both tables were built from."""

    unfinished: bool = False
    inputs: dict[str, Count] = field(default_factory=dict)
    summary: _Plain = field(default_factory=dict)
    config: _Plain = field(default_factory=dict)
    written: tuple[Count, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class InputNote:
    """A source's last run: its inputs, the versions that it left, the summary of a run that finds them unchanged."""

    made_of: _Plain = field(default_factory=dict)
    versions: dict[str, Count] = field(default_factory=dict)
    summary: _Plain = field(default_factory=dict)
    texts: dict[str, Count] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceNote:
    """By what one source's items are made; an older feedloop noted `tokens` for all sources together."""

    tokens: _Plain | None = None
    tokenizer: str | None = None
    near_duplicates: float | str | bool | None = None
    language: str | None = None
    corpora: _Plain = field(default_factory=dict)
    sha256: tuple[str, ...]
    input: InputNote = field(default_factory=InputNote)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewsNote:
    """Note of ITEM_TOKENS: by what its rows are made."""

    tokens: _Plain = field(default_factory=dict)
    sources: dict[str, SourceNote] = field(default_factory=dict)
    near_duplicates: float | str | bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayNote:
    """Note of INGEST_RUNS, for each source: the formats by which its batches were read again, and, until a replay's
    exchange of rows is done, what it exchanges.
    """

    formats: tuple[tuple[Count, Count, str], ...] = ()  # first and last batch, and the format in place of RAW_LOG's
    folder: str = ""  # below the lake, with the tables of the replay that is under way
    made: dict[str, Count] = field(default_factory=dict)  # their versions
    changed: tuple[str, ...] = ()  # the tables whose rows are exchanged


def read_note(lake: Lake, table: Table, name: str, kind: type[TrajectoriesNote | NewsNote | ReplayNote]) -> _Plain:
    """The note as plain values that fit the kind; empty where there is none. ContractError, with table, note and
    place, for anything else."""
    text = lake.notes(table).get(name)
    if text is None:
        return {}
    where = f"{lake.root}, table {table.name}, its note {name}"
    found: _Plain = json_value(text, where, advice=_AGAIN)
    converted(found, kind, where, advice=_AGAIN, unknown="ignored")
    return found


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
    lake.note(ITEM_TOKENS, _MADE_FROM, json.dumps({"sources": sources}, sort_keys=True))


def _sources(lake: Lake) -> dict[str, dict[str, Any]]:
    found = read_note(lake, ITEM_TOKENS, _MADE_FROM, NewsNote) if lake.exists(ITEM_TOKENS) else {}
    sources: dict[str, dict[str, Any]] = found.get("sources", {})
    if "tokens" in found:  # an older feedloop made the items of all sources by the same settings
        of_all = {"tokens": found["tokens"], "near_duplicates": found.get("near_duplicates")}
        sources = {name: of_all | own for name, own in sources.items()}
    return sources
