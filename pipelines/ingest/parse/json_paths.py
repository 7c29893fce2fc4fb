"""Reads values along paths of names into JSON objects, and finds lines that may hold a name of a path twice.

A path is a tuple of names, with EACH where it enters the objects of a list.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any

import msgspec
import numpy as np

from pipelines.ingest.parse.json_values import NULL, Raw
from pipelines.ingest.parse.mapping import EACH
from pipelines.ingest.parse.text_lists import Bools, Bytes, Ints, counts_in, rows_with

Path = tuple[str, ...]
_COLON, _QUOTE, _BACKSLASH, _U, _ZERO = b':"\\u0'
_WHITE = np.isin(np.arange(256), list(b" \t\r\n"))
_PLAIN = set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-@ ")
_WINDOW = 16  # bytes of a name, with its quotes, that are compared: the last ones of a longer name
_HEX = np.array([int(chr(byte), 16) if chr(byte) in "0123456789abcdefABCDEF" else 99 for byte in range(256)])


def reader_of(paths: Iterable[Path]) -> type[msgspec.Struct]:
    """The type of records that hold the value at the end of each path, and nothing else; NULL for an absent value."""
    below: dict[str, list[Path]] = {}
    for path in paths:
        below.setdefault(path[0], []).append(path[1:])
    fields: list[tuple[str, Any, Any]] = []
    for at, rests in enumerate(below.values()):
        if () in rests:
            fields.append((f"f{at}", Raw, NULL))
        elif rests[0][0] == EACH:
            fields.append((f"f{at}", list[reader_of(rest[1:] for rest in rests)] | None, None))  # type: ignore[misc]
        else:
            fields.append((f"f{at}", reader_of(rests) | None, None))
    names = {f"f{at}": name for at, name in enumerate(below)}
    return msgspec.defstruct("Record", fields, rename=names, gc=False)


def values_at(records: list[Any], path: Path) -> tuple[list[Raw], list[int] | None]:
    """The value at the end of the path in each record; for a path through EACH, in each object of the lists, and the
    length of each list (-1: there is no list).
    """
    counts: list[int] | None = None
    for depth, name in enumerate(path):
        if name == EACH:
            counts = [-1 if some is None else len(some) for some in records]
            records = [record for some in records if some for record in some]
            continue
        none = NULL if depth == len(path) - 1 else None
        field = _field_of(records, name)
        records = [none if record is None else getattr(record, field) for record in records]
    return records, counts


def _field_of(records: list[Any], name: str) -> str:
    record = next((record for record in records if record is not None), None)
    if record is None:
        return ""  # never looked up
    names = dict(zip(record.__struct_encode_fields__, record.__struct_fields__, strict=True))
    return str(names[name])


class Names:
    """The names of some paths, for a search in lines of JSON."""

    def __init__(self, paths: Iterable[Path]) -> None:
        self.paths = tuple(dict.fromkeys(paths))
        self.names = tuple(dict.fromkeys(name for path in self.paths for name in path if name != EACH))
        windows = [json.dumps(name, ensure_ascii=False).encode()[-_WINDOW:] for name in self.names]
        self._wanted = [(_words(window), _words(b"\xff" * len(window))) for window in windows]
        letters = set("".join(self.names))
        self._spelled = np.isin(np.arange(256), [ord(letter) for letter in letters if letter in _PLAIN])
        self._plain = letters <= _PLAIN

    def twice(self, data: Bytes, at: Ints, found: Callable[[Path], Ints]) -> Bools:
        """Which lines may hold a name twice in an object: all that do, and few others.

        `found` returns the number of values that each line has at the end of a path. A line that holds a name at most
        once, or as often as values were found, holds it once in each object.
        """
        padded = np.concatenate([np.zeros(_WINDOW, np.uint8), data])
        colons = np.flatnonzero(padded == _COLON)
        before, earlier = padded[colons - 1], padded[colons - 2]
        spaced = colons[_WHITE[before] & (_WHITE[earlier] | (earlier == _QUOTE))]
        odd = rows_with(spaced - _WINDOW, at) | self._escaped(data, at)
        keys = colons[before == _QUOTE]
        low, high = _word_at(padded, keys - 8), _word_at(padded, keys - 16)
        for name, ((first, last), (first_mask, last_mask)) in zip(self.names, self._wanted, strict=True):
            hits = keys[((low & last_mask) == last) & ((high & first_mask) == first)]
            counts = counts_in(hits - _WINDOW, at)
            if (counts > 1).any():
                odd |= (counts > 1) & (counts != self._expected(name, found))
        return odd

    def _expected(self, name: str, found: Callable[[Path], Ints]) -> Ints:
        """The number of times that each line holds a name, if each object with a value holds it once."""
        levels: dict[Path, Ints] = {}
        for path in self.paths:
            for depth in (depth for depth, part in enumerate(path) if part == name):
                level = path[: depth + 1]
                times = found(path) if EACH in level else np.minimum(found(path), 1)
                levels[level] = np.maximum(levels.get(level, 0), times)
        return sum(levels.values(), np.zeros(1, np.int64))

    def _escaped(self, data: Bytes, at: Ints) -> Bools:
        """Which lines may spell a letter of a name as an escape."""
        places = np.flatnonzero(data == _BACKSLASH)
        if len(places) and self._plain:
            part = [data[np.minimum(places + i, len(data) - 1)] for i in range(6)]
            code = _HEX[part[4]] * 16 + _HEX[part[5]]
            spelled = self._spelled[np.minimum(code, 255)] & (code < 256)
            places = places[(part[1] == _U) & (part[2] == _ZERO) & (part[3] == _ZERO) & spelled]
        return rows_with(places, at)


def _words(window: bytes) -> tuple[np.uint64, np.uint64]:
    first, last = np.frombuffer(window.rjust(_WINDOW, b"\0"), "<u8")
    return first, last


def _word_at(padded: Bytes, places: Ints) -> Any:
    words: Any = np.ndarray((len(padded) - 7,), "<u8", padded, strides=(1,))
    return words[places]
