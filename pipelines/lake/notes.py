"""Reads the notes that stages leave on tables: JSON in a table's properties, where other programs can write too."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from pipelines.lake.tables import Lake
from schemas.strict_json import Count, converted, json_value
from schemas.table import Table

_Plain = dict[str, Any]
_AGAIN = "Run the job that writes this table again"


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
