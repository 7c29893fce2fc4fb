"""Resolves the settings that make a source's items. They belong to the source; only an explicit option changes one.

An option that a run does not give keeps the setting that made the source's items; for the first run, the default.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipelines.lake.notes import noted_sources
from pipelines.lake.tables import Lake
from pipelines.news.segmenting import NewsConfig, Segmenting
from pipelines.news.tokenizer_file import DEFAULT
from schemas.errors import InputError
from schemas.storage.place import Place


@dataclass(frozen=True, slots=True)
class ResolvedSettings:
    """The settings that make a source's items in this run. No option of `config` is None."""

    config: NewsConfig
    segmenting: Segmenting
    changed: Mapping[str, tuple[Any, Any]]
    """option -> (setting that made the source's items, setting of this run)"""


def resolve_settings(lake: Lake, config: NewsConfig, *, source: str) -> ResolvedSettings:
    """The options, completed by the settings noted for the source. InputError if the noted tokenizer is gone."""
    noted = noted_sources(lake).get(source)
    if noted is None:
        config = config.with_defaults({})
        return ResolvedSettings(config, config.segmenting(), {})
    before = _noted_settings(noted)
    now = config.with_defaults(before)
    segmenting = now.segmenting() if config.tokenizer is not None else _as_before(now, source, noted["tokens"])
    asked = {name: getattr(now, name) for name in before} | {"fields": segmenting.fields}
    changed = {name: (old, asked[name]) for name, old in before.items() if old != asked[name]}
    if _is_noted(segmenting, noted["tokens"]):
        changed.pop("tokenizer", None)  # the same tokenizer under another name
    return ResolvedSettings(now, segmenting, changed)


def tokenizer_place(tokenizer: str) -> str:
    """The tokenizer's path, independent of the working folder."""
    if tokenizer == DEFAULT:
        return tokenizer
    place = Place.of(tokenizer)
    if not place.is_local:
        raise InputError(f"tokenizer is {place}: every task opens it, so give a path that exists on all machines")
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
    """Whether it is the noted tokenizer, by its file or by its content, which saving it again does not change."""
    content = tokens.get("tokenizer_content")
    same = bool(content) and content == segmenting.tokenizer_content
    return same or segmenting.tokenizer_sha256 == str(tokens["tokenizer_sha256"])


def _as_before(config: NewsConfig, source: str, tokens: Mapping[str, Any]) -> Segmenting:
    """The segmentation with the tokenizer that made the source's items. InputError if it is missing or has changed."""
    try:
        segmenting = config.segmenting()
    except InputError as error:
        raise InputError(
            f"the items of source {source!r} were made by the tokenizer {config.tokenizer}, which cannot be used now "
            f"({error}). Name its present place with --tokenizer"
        ) from error
    if not _is_noted(segmenting, tokens):
        sha256 = str(tokens["tokenizer_sha256"])
        raise InputError(
            f"the items of source {source!r} were made by the tokenizer {config.tokenizer}, which has changed since "
            f"(sha256 {segmenting.tokenizer_sha256[:12]}, it was {sha256[:12]}). Name the old one with --tokenizer, or "
            f"this one to make all its items again"
        )
    return segmenting
