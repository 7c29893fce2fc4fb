"""Paths of names into a JSON object: what is read along them, and whether a name on the way may stand twice.

A path is a tuple of names, with EACH where it goes into the objects of a list.
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
_WINDOW = 16  # bytes of a name, its quotes among them, that are compared: of a longer one the last
_HEX = np.array([int(chr(byte), 16) if chr(byte) in "0123456789abcdefABCDEF" else 99 for byte in range(256)])


def reader_of(paths: Iterable[Path]) -> type[msgspec.Struct]:
    """The type of records that hold what stands at the end of each path, and nothing else: NULL where it is absent."""
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
    """What stands at the end of the path in each record; of a path through EACH, in each object of the lists, and how
    many each list has (-1: there is no list).
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
    """The names on the way of some paths, to be looked for in lines of JSON."""

    def __init__(self, paths: Iterable[Path]) -> None:
        self.paths = tuple(dict.fromkeys(paths))
        self.names = tuple(dict.fromkeys(name for path in self.paths for name in path if name != EACH))
        windows = [json.dumps(name, ensure_ascii=False).encode()[-_WINDOW:] for name in self.names]
        self._wanted = [(_words(window), _words(b"\xff" * len(window))) for window in windows]
        letters = set("".join(self.names))
        self._spelled = np.isin(np.arange(256), [ord(letter) for letter in letters if letter in _PLAIN])
        self._plain = letters <= _PLAIN

    def twice(self, data: Bytes, at: Ints, found: Callable[[Path], Ints]) -> Bools:
        """Which lines may have a name twice in an object: all that have, and few others.

        `found` says how often each line has a value at the end of a path. A line in which a name stands at most once,
        or as often as it was found, has it once in each object.
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
        """How often a name stands in each line, if it stands once in each object of which a value was found."""
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
