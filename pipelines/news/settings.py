"""Settings: by what a source's items are made. They belong to the source, and only an option that names one changes it.

What a run leaves open is as the source's items were made before, and the first run's by default.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipelines.lake.tables import Lake
from pipelines.lake.token_notes import noted_sources
from pipelines.news.segmenting import NewsConfig, Segmenting
from pipelines.news.tokenizer_file import DEFAULT
from schemas.errors import InputError
from schemas.storage.place import Place


@dataclass(frozen=True, slots=True)
class Settled:
    """What a run makes a source's items by: no option of `config` is open."""

    config: NewsConfig
    segmenting: Segmenting
    changed: Mapping[str, tuple[Any, Any]]
    """option -> (what the source's items were made by, what this run was asked for)"""


def resolve_settings(lake: Lake, config: NewsConfig, *, source: str) -> Settled:
    """The options with what they leave open as noted for the source. InputError where its tokenizer is gone."""
    noted = noted_sources(lake).get(source)
    if noted is None:
        config = config.over({})
        return Settled(config, config.segmenting(), {})
    before = _noted_settings(noted)
    now = config.over(before)
    segmenting = now.segmenting() if config.tokenizer is not None else _as_before(now, source, noted["tokens"])
    asked = {name: getattr(now, name) for name in before} | {"fields": segmenting.fields}
    changed = {name: (old, asked[name]) for name, old in before.items() if old != asked[name]}
    if _is_noted(segmenting, noted["tokens"]):
        changed.pop("tokenizer", None)  # the same tokenizer under another name
    return Settled(now, segmenting, changed)


def tokenizer_place(tokenizer: str) -> str:
    """A tokenizer as later runs find it, whatever folder they start in."""
    if tokenizer == DEFAULT:
        return tokenizer
    place = Place.of(tokenizer)
    if not place.is_local:
        raise InputError(f"tokenizer is {place}: every task opens it, so give a path that all machines have")
    return str(place.path.absolute())


def _noted_settings(noted: Mapping[str, Any]) -> dict[str, Any]:
    tokens = noted["tokens"]
    return {
        "tokenizer": noted.get("tokenizer", tokens["tokenizer"]),
        "tokens_per_segment": tokens["tokens_per_segment"],
        "fields": tuple(tokens["fields"]),
        "select": tokens["select"],
        "category_first": tokens.get("category_first", False),
        "language": noted["language"],
        "near_duplicates": noted["near_duplicates"] or 0.0,
    }


def _is_noted(segmenting: Segmenting, tokens: Mapping[str, Any]) -> bool:
    """Whether it is the noted tokenizer, by its file or by what the file holds: one that is saved again is the same."""
    content = tokens.get("tokenizer_content")
    same = bool(content) and content == segmenting.tokenizer_content
    return same or segmenting.tokenizer_sha256 == str(tokens["tokenizer_sha256"])


def _as_before(config: NewsConfig, source: str, tokens: Mapping[str, Any]) -> Segmenting:
    """With the tokenizer that made the source's items; InputError where it cannot be found or has changed."""
    try:
        segmenting = config.segmenting()
    except InputError as error:
        raise InputError(
            f"the items of source {source!r} were made by the tokenizer {config.tokenizer}, and that cannot be used "
            f"({error}). Name with --tokenizer where it is now"
        ) from error
    if not _is_noted(segmenting, tokens):
        sha256 = str(tokens["tokenizer_sha256"])
        raise InputError(
            f"the items of source {source!r} were made by the tokenizer {config.tokenizer}, which is another by now "
            f"(sha256 {segmenting.tokenizer_sha256[:12]}, it was {sha256[:12]}). Name the old one with --tokenizer, or "
            f"this one to make all its items anew"
        )
    return segmenting
