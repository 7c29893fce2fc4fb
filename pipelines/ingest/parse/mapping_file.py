"""A TOML file that describes a log -> its LogMapping; see jobs/presets/logs for one of each kind."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipelines.ingest.parse.mapping import Extra, ListForm, LogMapping, refuse_unknown_keys
from schemas.errors import InputError
from schemas.storage.files import read
from schemas.storage.place import Place
from schemas.strict_toml import LARGEST_TOML, toml_tables

_LOG_KEYS = ("format", "files", "time_format", "time_zone", "clicked_as")


def read_mapping(path: Path | Place) -> LogMapping:
    """The mapping that a TOML file describes. InputError, which names the file, for what is wrong in it."""
    advice = "See the examples in jobs/presets/logs"
    found = read(Place.of(path), largest=LARGEST_TOML, advice=advice)
    tables = toml_tables(found, f"--mapping {path}", advice=advice)
    try:
        refuse_unknown_keys("", tables, ("log", "columns", "extra"))
        log, columns, extra = (_table(tables, name) for name in ("log", "columns", "extra"))
        refuse_unknown_keys("log", log, _LOG_KEYS)
        if "format" not in log or (log["format"] != "delta") != ("files" in log):
            raise InputError("[log] names a format and, unless that is delta, files (a glob below the folder)")
        text = {key: value for key, value in log.items() if isinstance(value, str)}
        if text != log:
            raise InputError(f"[log] {', '.join(sorted(set(log) - set(text)))}: write a text in quotes")
        forms = {name: _list_form(name, value) for name, value in columns.items() if isinstance(value, dict)}
        return LogMapping(
            columns={name: value["column"] if isinstance(value, dict) else value for name, value in columns.items()},
            extra={name: _extra(name, value) for name, value in extra.items()},
            lists=forms,
            **text,
        )
    except InputError as error:
        raise InputError(f"--mapping {path}: {error}") from error


def _list_form(name: str, value: dict[str, Any]) -> ListForm:
    refuse_unknown_keys(f"columns.{name}", value, ("column", "split", "field"))
    if "column" not in value or not {"split", "field"} & set(value):
        raise InputError(
            f'columns.{name}: write {name} = "column", or {name} = {{ column = "...", split = " " }} for ids in one '
            f'text, or {name} = {{ column = "...", field = "id" }} for a list of objects'
        )
    return ListForm(**{key: text for key, text in value.items() if key != "column"})


def _extra(name: str, value: Any) -> Extra:
    if isinstance(value, str):
        return Extra(value)
    if not isinstance(value, dict) or "column" not in value:
        raise InputError(f'extra.{name}: write {name} = "column", or {name} = {{ column = "...", type = "long" }}')
    refuse_unknown_keys(f"extra.{name}", value, ("column", "type"))
    return Extra(**value)


def _table(tables: Mapping[str, Any], name: str) -> dict[str, Any]:
    value = tables.get(name, {})
    if not isinstance(value, dict):
        raise InputError(f"{name} is a table: write [{name}] and its keys below")
    return value
