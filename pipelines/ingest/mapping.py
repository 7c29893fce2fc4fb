"""How a log's own columns become ours: a TOML file, or the JSON of RAW_LOG.format, -> LogMapping."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from schemas.errors import InputError
from schemas.impression import IMPRESSIONS
from schemas.raw_log import RAW_LOG
from schemas.regular_file import read_bytes
from schemas.strict_json import converted, json_value
from schemas.strict_toml import LARGEST_TOML, toml_tables

MAPPED_FORMATS = ("jsonl", "parquet", "delta")
FIELDS = ("impression_id", "user_id", "time", "history", "shown", "clicked")
LISTS = ("history", "shown", "clicked")
OPTIONAL = ("history", "clicked", "impression_id")  # absent = an empty history; unlabelled; made of time and news
EXTRA_TYPES = ("string", "long", "double", "boolean")
JSONL = "jsonl"  # RAW_LOG.format of feedloop's own JSON lines
_LOG_KEYS = ("format", "files", "time_format", "time_zone", "clicked_as")
_TIME_FORMATS = ("iso", "epoch_seconds", "epoch_milliseconds")
_PATTERN = re.compile(r"(?:[yuMdDHhKkmsSaXxZzVO]|'[^']*'|[^A-Za-z'#{}\[\]])+")  # letters that Spark can parse
_COLUMN = re.compile(r"[^\s\\`'\"\[\].]+(\.[^\s\\`'\"\[\].]+)*")
_NAME = re.compile(r"[a-z][a-z0-9_]*")
_TAKEN = {*FIELDS, *RAW_LOG.column_names, *IMPRESSIONS.column_names, "clicked_ids", "reason"}


@dataclass(frozen=True, slots=True)
class Extra:
    """A column of the log that is carried along."""

    column: str
    type: str = "string"


@dataclass(frozen=True, slots=True, kw_only=True)
class LogMapping:
    """Where each field stands in a record of the log, as a dotted name, and how times and clicks are told."""

    columns: Mapping[str, str] = field(default_factory=lambda: {name: name for name in FIELDS})
    extra: Mapping[str, Extra] = field(default_factory=dict)
    format: str = JSONL
    files: str = ""  # glob below the folder
    time_format: str = "iso"
    time_zone: str = "UTC"  # of times without an offset
    clicked_as: str = "ids"  # or id: one news, no list; or marks: a 0 or 1 for each shown news

    def __post_init__(self) -> None:
        _one_of("log.format", self.format, MAPPED_FORMATS)
        _one_of("log.clicked_as", self.clicked_as, ("ids", "id", "marks"))
        if self.time_format not in _TIME_FORMATS and not _PATTERN.fullmatch(self.time_format):
            raise InputError(
                f"log.time_format is {self.time_format!r}: it is one of {', '.join(_TIME_FORMATS)}, or a pattern of "
                "Spark's such as yyyy-MM-dd HH:mm:ss"
            )
        try:
            ZoneInfo(self.time_zone)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise InputError(
                f"log.time_zone is {self.time_zone!r}: it is no zone of the IANA list, such as Europe/Berlin"
            ) from error
        _known("columns", self.columns, FIELDS)
        absent = [name for name in FIELDS if name not in self.columns and name not in (*OPTIONAL, "shown")]
        if absent:
            raise InputError(f"[columns] lacks {', '.join(absent)}: name the column of the log that holds each")
        self._check_clicks_alone()
        for name, column in self.read_columns.items():
            if not isinstance(column, str) or not _COLUMN.fullmatch(column):
                raise InputError(f"{name} = {column!r}: name a column of the log; a dot goes into a nested one")
            inside = [other for other in self.read_columns.values() if str(other).startswith(f"{column}.")]
            if inside:
                raise InputError(f"{name} = {column!r} holds {inside[0]!r}, which is read as well: name one of them")
        for name, extra in self.extra.items():
            _one_of(f"extra.{name}.type", extra.type, EXTRA_TYPES)
            if not _NAME.fullmatch(name) or name in _TAKEN:
                raise InputError(f"[extra] {name}: use a name of a-z, 0-9 and _ that feedloop's own columns leave free")

    def is_list(self, name: str) -> bool:
        """Whether the log holds a list for the field."""
        return name in LISTS and (name, self.clicked_as) != ("clicked", "id")

    def _check_clicks_alone(self) -> None:
        """A log without shown news holds the ids of clicked ones."""
        if "shown" in self.columns:
            return
        if "clicked" not in self.columns:
            raise InputError("[columns] lacks shown: name its column or, of a log of clicks alone, that of clicked")
        if self.clicked_as == "marks":
            raise InputError("log.clicked_as is 'marks' of shown news, and [columns] lacks shown: name its column")

    def of_rows(self, *, typed_time: bool, clicked_as: str = "") -> LogMapping:
        """The mapping of its records once their columns have our own names; `typed_time`: and their times an offset."""
        extra = {name: Extra(name, extra.type) for name, extra in self.extra.items()}
        lacking = {"shown", "impression_id"} - {*self.columns} if not clicked_as else set()
        columns = {name: name for name in FIELDS if name not in lacking}
        kept_as = "ids" if self.clicked_as == "id" else self.clicked_as  # rows are written with lists
        plain = LogMapping(columns=columns, extra=extra, clicked_as=clicked_as or kept_as)
        return plain if typed_time else replace(plain, time_format=self.time_format, time_zone=self.time_zone)

    @property
    def read_columns(self) -> dict[str, str]:
        """Every column that is read, by our own name."""
        return dict(self.columns) | {name: extra.column for name, extra in self.extra.items()}

    @property
    def as_format(self) -> str:
        """What RAW_LOG.format holds for lines of this mapping: enough to parse them again."""
        told = {
            "columns": dict(self.columns),
            "extra": {name: [extra.column, extra.type] for name, extra in self.extra.items()},
            "time_format": self.time_format,
            "time_zone": self.time_zone,
            "clicked_as": self.clicked_as,
        }
        plain = LogMapping()
        if all(told[name] == getattr(plain, name) for name in told):
            return JSONL
        return json.dumps(told, sort_keys=True, separators=(",", ":"))


@dataclass(frozen=True, slots=True)
class _Stored:
    """Of RAW_LOG.format, what is taken apart; the rest LogMapping checks."""

    columns: dict[str, str]
    extra: dict[str, tuple[str, str]]


def mapping_of(format: str) -> LogMapping:
    """The mapping that a RAW_LOG.format of JSON lines stands for."""
    if format == JSONL:
        return LogMapping()
    where, advice = "table raw_log, its column format", "Another program has changed it: restore the table"
    told: dict[str, Any] = json_value(format, where, advice=advice)
    converted(told, _Stored, where, advice=advice, unknown="ignored")
    extra = {name: Extra(*pair) for name, pair in told.pop("extra").items()}
    return LogMapping(**told, extra=extra)


def read_mapping(path: Path) -> LogMapping:
    """The mapping that a TOML file describes; see jobs/presets/logs for one of each kind."""
    advice = "See the examples in jobs/presets/logs"
    found = read_bytes(path, largest=LARGEST_TOML, advice=advice, error=InputError)
    told = toml_tables(found, f"--mapping {path}", advice=advice)
    try:
        _known("", told, ("log", "columns", "extra"))
        log, columns, extra = (_table(told, name) for name in ("log", "columns", "extra"))
        _known("log", log, _LOG_KEYS)
        if "format" not in log or (log["format"] != "delta") != ("files" in log):
            raise InputError("[log] names a format, and files (a glob below the folder) unless that is delta")
        text = {key: value for key, value in log.items() if isinstance(value, str)}
        if text != log:
            raise InputError(f"[log] {', '.join(sorted(set(log) - set(text)))}: write a text in quotes")
        return LogMapping(columns=columns, extra={name: _extra(name, value) for name, value in extra.items()}, **text)
    except InputError as error:
        raise InputError(f"--mapping {path}: {error}") from error


def _extra(name: str, value: Any) -> Extra:
    if isinstance(value, str):
        return Extra(value)
    if not isinstance(value, dict) or "column" not in value:
        raise InputError(f'extra.{name}: write {name} = "column", or {name} = {{ column = "...", type = "long" }}')
    _known(f"extra.{name}", value, ("column", "type"))
    return Extra(**value)


def _table(told: Mapping[str, Any], name: str) -> dict[str, Any]:
    value = told.get(name, {})
    if not isinstance(value, dict):
        raise InputError(f"{name} is a table: write [{name}] and its keys below")
    return value


def _known(table: str, keys: Iterable[str], wanted: tuple[str, ...]) -> None:
    for key in keys:
        if key not in wanted:
            nearest = difflib.get_close_matches(key, wanted, n=1, cutoff=0.0)[0]
            raise InputError(f"unknown key {f'{table}.{key}' if table else key}. The nearest is {nearest}")


def _one_of(name: str, value: Any, wanted: tuple[str, ...]) -> None:
    if value not in wanted:
        raise InputError(f"{name} is {value!r}: it is one of {', '.join(wanted)}")
