"""Parses JSON lines by a log's mapping: most lines vectorised, the others exactly, one by one.

The vectorised parser takes raw values from the lines, all of a batch at once. It leaves every line that is not JSON, or
of which it cannot be sure, to the exact parser (`json_exact.py`).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa

from pipelines.ingest.parse import json_exact
from pipelines.ingest.parse.extras import text_of_value, typed
from pipelines.ingest.parse.json_exact import DEEPEST, WRONG, Members
from pipelines.ingest.parse.json_paths import Names, Path, reader_of, values_at
from pipelines.ingest.parse.json_values import (
    DIGITS,
    MARKS,
    NULL,
    NUMBER,
    Raw,
    id_lists,
    scalars,
    single_lists,
    split_ids,
)
from pipelines.ingest.parse.mapping import LISTS, LogMapping
from pipelines.ingest.parse.rules import DUPLICATE, HALF_PAIR, NO_CLICK, NO_ID, NOT_JSON, Fields, with_rows
from pipelines.ingest.parse.rules import MARKS as BAD_MARKS
from pipelines.ingest.parse.text_lists import TEXT, TEXTS, Bools, Ints, any_of, counts_in, lists_of, spans

_SINGLE = ("impression_id", "user_id", "time")
_BRACE = 0x5B  # a bracket; a brace without its bit 0x20
_Column = tuple[pa.Array, Bools]


class JsonFields:
    """Reads the fields of one mapping."""

    def __init__(self, mapping: LogMapping) -> None:
        self._mapping = mapping
        self._paths = mapping.paths
        self._names = Names(self._paths.values())
        record = reader_of(dict.fromkeys(self._paths.values()))
        self._decode: Callable[[bytes], Any] = msgspec.json.Decoder(record).decode
        self._empty = record()

    def of_lines(self, lines: pa.Array, skipped: Bools) -> Fields:
        """The fields of lines of UTF-8; skipped lines have none."""
        data, at = spans(lines)
        texts = _split(data, at)
        records, odd = self._records(texts)
        odd |= _deep(data, at)
        fields, unsure = self._quick(records)
        odd = (odd | unsure | self._names.twice(data, at, partial(_found, records))) & ~skipped
        rows = np.flatnonzero(odd)
        return with_rows(fields, self._exact([texts[row] for row in rows.tolist()]), rows) if len(rows) else fields

    def _records(self, texts: Sequence[bytes]) -> tuple[list[Any], Bools]:
        """The raw values of each line, and which lines could not be read."""
        records, decode, odd = [], self._decode, np.zeros(len(texts), np.bool_)
        for row, text in enumerate(texts):
            try:
                records.append(decode(text))
            except (msgspec.DecodeError, RecursionError):
                records.append(self._empty)
                odd[row] = True
        return records, odd

    def _quick(self, records: list[Any]) -> tuple[Fields, Bools]:
        """The fields of the records, and the rows in which a field is odd."""
        odd = np.zeros(len(records), np.bool_)
        found: dict[str, pa.Array] = {}
        for name in (*_SINGLE, *LISTS):
            if name in self._paths:
                found[name], odd_rows = self._column(name, records)
                odd |= odd_rows
        extra = {}
        for name, column in self._mapping.extra.items():
            values = values_at(records, self._paths[name])[0]
            extra[name] = typed([text_of_value(value) for value in values], column.type)
        return self._fields(found, extra, np.zeros(len(records), np.uint8)), odd

    def _column(self, name: str, records: list[Any]) -> _Column:
        """One field of each record, and the rows in which it is odd."""
        values, counts = values_at(records, self._paths[name])
        marks = MARKS if name == "clicked" and self._mapping.clicked_as == "marks" else DIGITS
        if counts is not None:
            return _of_objects(values, np.array(counts, np.int64), marks)
        if self._mapping.is_list(name):
            return id_lists(values, marks)
        return scalars(values, NUMBER if name == "time" else DIGITS)

    def _fields(self, found: dict[str, pa.Array], extra: dict[str, pa.Array], flags: Any) -> Fields:
        """The fields from their raw columns: texts are split into lists, and fields without a column are null."""
        count = len(flags)
        for name, form in self._mapping.lists.items():
            if form.split and name in found:
                found[name] = split_ids(found[name], form.split)
        if self._mapping.clicked_as == "id":
            found["clicked"] = single_lists(found["clicked"])
        empty = lists_of(np.zeros(count, np.int64), pa.array([], TEXT))
        return Fields(
            impression_id=found.get("impression_id", pa.nulls(count, TEXT)),
            user_id=found["user_id"],
            time_text=found["time"],
            history=found.get("history", empty),
            shown=found.get("shown", pa.nulls(count, TEXTS)),
            clicked=found.get("clicked", pa.nulls(count, TEXTS)),
            flags=flags,
            extra=extra,
        )

    def _exact(self, texts: Sequence[bytes]) -> Fields:
        """The fields of lines that are parsed one by one."""
        flags = np.zeros(len(texts), np.uint8)
        rows = []
        for row, text in enumerate(texts):
            record = json_exact.object_of(text.decode())
            if record is None:
                flags[row] = NOT_JSON
            elif json_exact.has_twice(record, self._paths.values()):
                flags[row] = DUPLICATE
            values, flag = self._values(record if record is not None else Members())
            rows.append(values)
            flags[row] |= flag
        found = {
            name: pa.array([row[name] for row in rows], TEXTS if self._mapping.is_list(name) else TEXT)
            for name in self._paths
            if name not in self._mapping.extra
        }
        extra = {name: typed([row[name] for row in rows], of.type) for name, of in self._mapping.extra.items()}
        return self._fields(found, extra, flags)

    def _values(self, record: Members) -> tuple[dict[str, Any], int]:
        """The values of one record as texts and lists of texts, and its flags."""
        values: dict[str, Any] = {}
        flags = 0
        for name, path in self._paths.items():
            value = json_exact.value_at(record, path)
            listed = self._mapping.is_list(name)
            if name in ("time", *self._mapping.extra) or (name in self._mapping.lists and not listed):
                values[name] = json_exact.text_of(value)
                flags |= HALF_PAIR if name in LISTS and json_exact.has_half_pair(values[name]) else 0
            elif listed and (not isinstance(value, list) or isinstance(value, Members)):
                flags |= BAD_MARKS if name == "clicked" and value is not None else 0
                values[name] = None
                continue
            else:
                flags |= self._flags_of(name, value if listed else [value])
                values[name] = [*map(json_exact.id_of, value)] if listed else json_exact.id_of(value)
            if name == "clicked" and value is WRONG:
                flags |= BAD_MARKS
            values[name] = _without_half_pairs(values[name])
        return values, flags

    def _flags_of(self, name: str, values: list[Any]) -> int:
        flags = HALF_PAIR if any(json_exact.has_half_pair(json_exact.text_of(value)) for value in values) else 0
        if all(map(json_exact.is_id, values)):
            return flags
        if name != "clicked":
            return flags | NO_ID
        return flags | NO_CLICK | (0 if "shown" in self._mapping.columns else NO_ID)


def _found(records: list[Any], path: Path) -> Ints:
    """The number of values that each record has at the end of the path."""
    values, counts = values_at(records, path)
    absent = np.fromiter((len(value) == len(NULL) and value == NULL for value in values), np.bool_, len(values))
    if counts is None:
        return (~absent).astype(np.int64)
    sizes = np.maximum(np.array(counts, np.int64), 0)
    return np.where(any_of(absent, sizes), 0, sizes)


def _without_half_pairs(value: Any) -> Any:
    mend = json_exact.without_half_pairs
    return [*map(mend, value)] if isinstance(value, list) else mend(value)


def _split(data: Any, at: Ints) -> list[bytes]:
    text, ends = data.tobytes(), at.tolist()
    return [text[first:end] for first, end in itertools.pairwise(ends)]


def _deep(data: Any, at: Ints) -> Bools:
    """Which lines nest objects and lists deeper than DEEPEST."""
    many = counts_in(np.flatnonzero((data & 0xDF) == _BRACE), at) > DEEPEST
    for row in np.flatnonzero(many).tolist():
        many[row] = json_exact.depth_of(data[at[row] : at[row + 1]].tobytes().decode()) > DEEPEST
    return many


def _of_objects(values: list[Raw], counts: Ints, bare: bytes) -> _Column:
    """A list for each row, of `counts` values of its objects; null for -1."""
    ids, odd = scalars(values, bare)
    valid, sizes = counts >= 0, np.maximum(counts, 0)
    return lists_of(sizes, ids, valid), any_of(odd, sizes)
