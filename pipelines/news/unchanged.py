"""Known: whether a source's items are as its last run left them, so that a run with nothing new has nothing to do."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.compressed import plain_name
from pipelines.delta.table_ddl import TABLES_OF
from pipelines.lake.tables import Lake
from pipelines.lake.token_notes import note_source, noted_inputs, noted_sources
from pipelines.news.provenance import noted_made_by
from pipelines.news.settings import Settled
from schemas.news import ITEM_TOKENS

_RULES = 1  # goes up when the same file gives other news
_TABLES = TABLES_OF["prepare_news"]
_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Start:
    """The lake as a run finds it."""

    source: str
    made_of: Mapping[str, Any]  # what this run takes its news from
    versions: Mapping[str, int]  # of the news tables
    noted: Mapping[str, Any]  # what the source's last run left, as noted
    stands: bool  # all is as that run left it, and this one makes items by the same

    @property
    def known(self) -> dict[str, Any] | None:
        """The summary of a run that has nothing to do; None where this one has, or must look."""
        return dict(self.noted["summary"]) if self.stands and self.noted["made_of"] == self.made_of else None

    @property
    def texts(self) -> Mapping[str, int]:
        """Field -> how many news had text there when the last run was done."""
        return self.noted["texts"] if self.stands else {}


def start_of(lake: Lake, settled: Settled, made_of: Mapping[str, Any], *, source: str) -> Start:
    """What a run for the source finds, which takes its news from `made_of`."""
    versions = lake.versions(_TABLES)
    noted = noted_inputs(lake).get(source, {})
    stands = bool(noted) and noted["versions"] == versions and _makes_the_same(lake, settled, source)
    return Start(source, {**made_of, "rules": _RULES}, versions, noted, stands)


def of_file(file: Path) -> dict[str, str]:
    """What a run over a news file is made of: its bytes, and how they are read."""
    sha256 = hashlib.sha256()
    with file.open("rb") as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            sha256.update(chunk)
    return {"news": sha256.hexdigest(), "read_as": plain_name(file.name).rpartition(".")[-1]}


def note_end(
    lake: Lake, start: Start, made: Mapping[str, Any], texts: Mapping[str, int], summary: Mapping[str, Any]
) -> None:
    """Note what the run left: by what items are `made`, how many news hold text, what a run says that finds it so.

    Sources that were as their last runs left them are so still, for a run changes nothing of another source.
    """
    after = lake.versions(_TABLES)
    after[ITEM_TOKENS.name] += 1  # the note itself is a version
    others = {name: found for name, found in noted_inputs(lake).items() if found.get("versions") == start.versions}
    inputs: dict[str, dict[str, Any]] = {name: {**found, "versions": after} for name, found in others.items()}
    ours = {"made_of": start.made_of, "versions": after, "summary": dict(summary), "texts": dict(texts)}
    note_source(lake, start.source, made, inputs | {start.source: ours})


def _makes_the_same(lake: Lake, settled: Settled, source: str) -> bool:
    if settled.changed or settled.config.new_corpus:
        return False
    noted = noted_sources(lake)[source]
    return noted_made_by(lake, settled, noted, source=source).noted() == noted
