"""Finds out whether a source's items are as its last run left them, so that a run without news can stop at once."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.compressed import plain_name
from pipelines.delta.table_ddl import TABLES_OF
from pipelines.lake.notes import note_source, noted_inputs, noted_sources
from pipelines.lake.tables import Lake
from pipelines.news.provenance import noted_provenance
from pipelines.news.settings import ResolvedSettings
from schemas.news import ITEM_TOKENS

_RULES = 1  # increases when the same file gives other news
_TABLES = TABLES_OF["prepare_news"]
_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class RunStart:
    """The state of the lake at the start of a run."""

    source: str
    made_of: Mapping[str, Any]  # fingerprint of this run's input
    versions: Mapping[str, int]  # of the news tables
    noted: Mapping[str, Any]  # the note of the source's last run
    is_current: bool  # the tables are as that run left them, and this run has the same settings

    @property
    def summary(self) -> dict[str, Any] | None:
        """The summary if there is nothing to do; None if the run must read its input."""
        return dict(self.noted["summary"]) if self.is_current and self.noted["made_of"] == self.made_of else None

    @property
    def texts(self) -> Mapping[str, int]:
        """Field -> number of news with text there after the last run; empty if unknown."""
        return self.noted["texts"] if self.is_current else {}


def inspect_lake(lake: Lake, settings: ResolvedSettings, made_of: Mapping[str, Any], *, source: str) -> RunStart:
    """The start of a run for the source whose input has the fingerprint `made_of`."""
    versions = lake.versions(_TABLES)
    noted = noted_inputs(lake).get(source, {})
    is_current = bool(noted) and noted["versions"] == versions and _same_provenance(lake, settings, source)
    return RunStart(source, {**made_of, "rules": _RULES}, versions, noted, is_current)


def fingerprint(file: Path) -> dict[str, str]:
    """The fingerprint of a news file as input: its bytes and its format."""
    sha256 = hashlib.sha256()
    with file.open("rb") as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            sha256.update(chunk)
    return {"news": sha256.hexdigest(), "read_as": plain_name(file.name).rpartition(".")[-1]}


def note_run(
    lake: Lake, start: RunStart, made: Mapping[str, Any], texts: Mapping[str, int], summary: Mapping[str, Any]
) -> None:
    """Note the state after the run: the items' provenance `made`, the numbers of texts, and the summary that a later
    run without changes returns.

    Other sources that were current stay current, because a run changes nothing of another source.
    """
    after = lake.versions(_TABLES)
    after[ITEM_TOKENS.name] += 1  # the note itself is a version
    others = {name: found for name, found in noted_inputs(lake).items() if found.get("versions") == start.versions}
    inputs: dict[str, dict[str, Any]] = {name: {**found, "versions": after} for name, found in others.items()}
    ours = {"made_of": start.made_of, "versions": after, "summary": dict(summary), "texts": dict(texts)}
    note_source(lake, start.source, made, inputs | {start.source: ours})


def _same_provenance(lake: Lake, settings: ResolvedSettings, source: str) -> bool:
    if settings.changed or settings.config.new_corpus:
        return False
    noted = noted_sources(lake)[source]
    return noted_provenance(lake, settings, noted, source=source).noted() == noted
