"""LogMapping: how a log's columns become ours; read from a mapping file, or from the JSON of RAW_LOG.format and back.

ARCHITECTURE.md, "Forms of logs", lists every form of times, lists and ids that is read; jobs/presets/logs shows them.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from schemas.errors import InputError
from schemas.impression import IMPRESSIONS
from schemas.raw_log import RAW_LOG
from schemas.strict_json import decoded

MAPPED_FORMATS = ("jsonl", "parquet", "delta")
FIELDS = ("impression_id", "user_id", "time", "history", "shown", "clicked")
LISTS = ("history", "shown", "clicked")
# If absent: an empty history; unlabelled; made of time and news.
OPTIONAL = ("history", "clicked", "impression_id")
EACH = "\x00"  # in a path: the following names are in each object of a list; no name holds a control character
EXTRA_TYPES = ("string", "long", "double", "boolean")
JSONL = "jsonl"  # RAW_LOG.format of feedloop's own JSON lines
EPOCHS = {  # time format -> its unit in seconds, as a power of ten
    "epoch_seconds": 0,
    "epoch_milliseconds": -3,
    "epoch_microseconds": -6,
    "epoch_nanoseconds": -9,
}
_TIME_FORMATS = ("iso", *EPOCHS)
# Ids; one id, no list; a 0 or 1 for each shown news; -0 or -1 at the end of each shown news.
_CLICKED_AS = ("ids", "id", "marks", "suffixes")
_PATTERN = re.compile(r"(?:[yuMdDHhKkmsSaXxZzVO]|'[^']*'|[^A-Za-z'#{}\[\]])+")  # letters that Spark can parse
_PART = r'"[^"\x00-\x1f]+"|[^."\s](?:[^."\x00-\x1f]*[^."\s])?'  # of a dotted name, in quotes or bare
_COLUMN = re.compile(rf"(?:{_PART})(?:\.(?:{_PART}))*")
_NAME = re.compile(r"[a-z][a-z0-9_]*")
_TAKEN = {*FIELDS, *RAW_LOG.column_names, *IMPRESSIONS.column_names, "clicked_ids", "reason"}


@dataclass(frozen=True, slots=True)
class Extra:
    """A column of the log that IMPRESSIONS gets as an extra column."""

    column: str
    type: str = "string"


@dataclass(frozen=True, slots=True, kw_only=True)
class ListForm:
    """How a list of ids is written if it is not a plain list: as one text, or as a list of objects."""

    split: str = ""  # the separator between the ids of the text
    field: str = ""  # of each object, as a dotted name


@dataclass(frozen=True, slots=True, kw_only=True)
class LogMapping:
    """The place of each field in a record of the log, as a dotted name, and how times, lists and clicks are written."""

    columns: Mapping[str, str] = field(default_factory=lambda: {name: name for name in FIELDS})
    extra: Mapping[str, Extra] = field(default_factory=dict)
    lists: Mapping[str, ListForm] = field(default_factory=dict)  # of those that are not plain lists
    format: str = JSONL
    files: str = ""  # glob below the folder
    time_format: str = "iso"
    time_zone: str = "UTC"  # of times without an offset
    clicked_as: str = "ids"  # or one of _CLICKED_AS

    def __post_init__(self) -> None:
        _one_of("log.format", self.format, MAPPED_FORMATS)
        _one_of("log.clicked_as", self.clicked_as, _CLICKED_AS)
        if self.time_format not in _TIME_FORMATS and not _PATTERN.fullmatch(self.time_format):
            raise InputError(
                f"log.time_format is {self.time_format!r}: it is one of {', '.join(_TIME_FORMATS)}, or a pattern of "
                "Spark such as yyyy-MM-dd HH:mm:ss"
            )
        try:
            ZoneInfo(self.time_zone)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise InputError(
                f"log.time_zone is {self.time_zone!r}: it is no zone of the IANA list, such as Europe/Berlin"
            ) from error
        refuse_unknown_keys("columns", self.columns, FIELDS)
        absent = [name for name in FIELDS if name not in self.columns and name not in (*OPTIONAL, "shown")]
        if absent:
            raise InputError(f"[columns] lacks {', '.join(absent)}: name the column of the log that holds each")
        self._check_clicks()
        for name, column in self.read_columns.items():
            if not isinstance(column, str) or not _COLUMN.fullmatch(column):
                raise InputError(
                    f"{name} = {column!r}: name a column of the log; a dot leads to a nested one, and a name that "
                    "holds a dot needs double quotes"
                )
        for name, form in self.lists.items():
            _check_list(name, form)
        self._check_overlaps()
        for name, extra in self.extra.items():
            _one_of(f"extra.{name}.type", extra.type, EXTRA_TYPES)
            if not _NAME.fullmatch(name) or name in _TAKEN:
                raise InputError(f"[extra] {name}: use a name of a-z, 0-9 and _ that no column of feedloop has")

    def _check_overlaps(self) -> None:
        """InputError for a column that is read both entirely and in part, or both as a list and as a single value."""
        for name, path in self.paths.items():
            for other, longer in self.paths.items():
                if len(longer) > len(path) and longer[: len(path)] == path:
                    column, inside = self.read_columns[name], self.read_columns[other]
                    raise InputError(f"{name} = {column!r} holds {inside!r}, which is read as well: name one of them")
                if longer == path and self.is_list(name) != self.is_list(other):
                    raise InputError(f"{name} and {other} are both {self.read_columns[name]!r}: one of them is a list")

    def _check_clicks(self) -> None:
        """InputError if `clicked_as` does not fit the columns: a log without shown news needs ids of clicked ones, and
        suffixes replace `clicked`.
        """
        if self.clicked_as == "suffixes" and "clicked" in self.columns:
            raise InputError(
                "log.clicked_as is 'suffixes', so clicks are read from shown: leave clicked out of [columns]"
            )
        if self.clicked_as == "id" and "clicked" in self.lists:
            raise InputError("log.clicked_as is 'id', one news: leave split and field out of clicked, or write ids")
        if "shown" in self.columns:
            return
        if "clicked" not in self.columns:
            raise InputError("[columns] lacks shown: name its column or, for a log of clicks alone, that of clicked")
        if self.clicked_as == "marks":
            raise InputError("log.clicked_as is 'marks' of shown news, and [columns] lacks shown: name its column")

    def is_list(self, name: str) -> bool:
        """Whether the log holds a list for the field, not a text to split and not a single news."""
        single = (name, self.clicked_as) == ("clicked", "id") or (name in self.lists and self.lists[name].split)
        return name in LISTS and not single

    def of_rows(self, *, typed_time: bool) -> LogMapping:
        """The mapping of its records under our own names; `typed_time`: their times have an offset."""
        texts = {name: form for name, form in self.lists.items() if form.split}
        lacking = {"shown", "impression_id"} - {*self.columns} | (
            {"clicked"} if self.clicked_as == "suffixes" else set()
        )
        own = {name: name for name in FIELDS if name not in lacking}
        kept_as = "ids" if self.clicked_as == "id" else self.clicked_as  # rows are written with lists
        plain = replace(self.parsed, columns=own, clicked_as=kept_as, lists=texts)
        return plain if typed_time else replace(plain, time_format=self.time_format, time_zone=self.time_zone)

    @property
    def parsed(self) -> LogMapping:
        """The mapping of its records after they were parsed and written again under our own names."""
        return LogMapping(extra={name: Extra(name, extra.type) for name, extra in self.extra.items()})

    @property
    def paths(self) -> dict[str, tuple[str, ...]]:
        """The names that lead to each column that is read, with EACH where they enter the objects of a list."""
        into = {name: (EACH, *parts(form.field)) for name, form in self.lists.items() if form.field}
        return {name: (*parts(column), *into.get(name, ())) for name, column in self.read_columns.items()}

    @property
    def read_columns(self) -> dict[str, str]:
        """Every column that is read, by our own name."""
        return dict(self.columns) | {name: extra.column for name, extra in self.extra.items()}

    @property
    def as_format(self) -> str:
        """RAW_LOG.format for lines of this mapping, by which they can be parsed again."""
        stored = {
            "columns": dict(self.columns),
            "extra": {name: [extra.column, extra.type] for name, extra in self.extra.items()},
            "time_format": self.time_format,
            "time_zone": self.time_zone,
            "clicked_as": self.clicked_as,
        }
        plain = LogMapping()
        if not self.lists and all(stored[name] == getattr(plain, name) for name in stored):
            return JSONL
        if self.lists:
            stored["lists"] = {name: asdict(form) for name, form in self.lists.items()}
        return json.dumps(stored, sort_keys=True, separators=(",", ":"))


@dataclass(frozen=True, slots=True)
class _Stored:
    """RAW_LOG.format as JSON. Older feedloops wrote fewer keys; LogMapping checks the values."""

    columns: dict[str, str]
    extra: dict[str, tuple[str, str]]
    lists: dict[str, ListForm] = field(default_factory=dict)
    time_format: str = "iso"
    time_zone: str = "UTC"
    clicked_as: str = "ids"


def mapping_of(format: str) -> LogMapping:
    """The mapping that a RAW_LOG.format of JSON lines stands for."""
    if format == JSONL:
        return LogMapping()
    where, advice = "table raw_log, its column format", "Another program has changed it: restore the table"
    stored = decoded(format, _Stored, where, advice=advice)
    return LogMapping(
        columns=stored.columns,
        extra={name: Extra(*pair) for name, pair in stored.extra.items()},
        lists=stored.lists,
        time_format=stored.time_format,
        time_zone=stored.time_zone,
        clicked_as=stored.clicked_as,
    )


def parts(column: str) -> tuple[str, ...]:
    """The names that a dotted name leads through; one in double quotes may hold dots."""
    return tuple(part.strip('"') for part in re.findall(_PART, column))


def _check_list(name: str, form: ListForm) -> None:
    if name not in LISTS:
        raise InputError(f"columns.{name} is a single value: only {', '.join(LISTS)} take split or field")
    texts = isinstance(form.split, str) and isinstance(form.field, str)
    if not texts or bool(form.split) == bool(form.field):
        raise InputError(f"columns.{name}: give split (a text such as ' ' or ',') or field (a name), one of them")
    if form.field and not _COLUMN.fullmatch(form.field):
        raise InputError(f"columns.{name}.field is {form.field!r}: name a field of the objects in the list")


def refuse_unknown_keys(table: str, keys: Iterable[str], wanted: tuple[str, ...]) -> None:
    """InputError, with the nearest wanted key, for a key of a table that is not wanted."""
    for key in keys:
        if key not in wanted:
            nearest = difflib.get_close_matches(key, wanted, n=1, cutoff=0.0)[0]
            raise InputError(f"unknown key {f'{table}.{key}' if table else key}. The nearest is {nearest}")


def _one_of(name: str, value: Any, wanted: tuple[str, ...]) -> None:
    if value not in wanted:
        raise InputError(f"{name} is {value!r}: it is one of {', '.join(wanted)}")
