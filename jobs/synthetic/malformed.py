"""Lines without a usable impression: each kind of damage with the reason for which ingest must reject it."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

import numpy as np

from jobs.synthetic.sizes import Ints

TOO_LONG_BYTES = 1_100_000  # a dump that ran into the line: more than any reader should take for one
_IMPOSSIBLE = (
    "2026-02-30T09:15:31Z",
    "2026-13-02T09:15:31Z",
    "2026-03-02T27:15:31Z",
    "2026-03-02T09:15:31+25:00",
    "0000-00-00T00:00:00Z",
    "yesterday",
)
_NO_MARKS: tuple[Any, ...] = ("n00001", 1, {"n00001": 1}, [None], [""])

Damage = Callable[[bytes, random.Random], bytes]


def broken(line: bytes, kind: int, pick: random.Random) -> bytes:
    """The line with that damage: no reader may accept it as an impression, and it is still one line.

    An empty one ends in both characters: after a line that ends in a bare carriage return, a line feed makes no line.
    """
    damaged = KINDS[kind][1](line.rstrip(b"\r\n"), pick)
    return damaged + (b"\n" if damaged else b"\r\n")


def reason_of(kind: int) -> str:
    """The reason of REJECT_REASONS for a row of KINDS."""
    return KINDS[kind][0]


def kinds_of(count: int, *, first: bool) -> Ints:
    """Rows of KINDS for `count` broken lines, each about equally often; the last one, large, is in `first` only."""
    common = len(KINDS) - 1
    return np.concatenate([np.arange(max(common, count)) % common, np.full(int(first), common)])


def _cut_off(line: bytes, pick: random.Random) -> bytes:
    return line[: pick.randrange(1, len(line) - 1)]  # its brace never closes


def _blank(line: bytes, pick: random.Random) -> bytes:
    return pick.choice((b"", b" ", b"\t  "))


def _glued(line: bytes, pick: random.Random) -> bytes:
    return line + pick.choice((b"", b" ")) + line  # the line feed between them was lost


def _with_nul(line: bytes, pick: random.Random) -> bytes:
    place = pick.randrange(len(line))
    return line[:place] + b"\x00" + line[place:]


def _only_nuls(line: bytes, pick: random.Random) -> bytes:
    return b"\x00" * pick.randrange(1, 512)  # what a crash leaves of a block that was never written


def _in_a_list(line: bytes, pick: random.Random) -> bytes:
    return b"[" + line + b"]"


def _bare_backslash(line: bytes, pick: random.Random) -> bytes:
    return line.replace(b'"impression_id": "', rb'"impression_id": "C:\logs\2026-03-02', 1)


def _wrong_bytes(line: bytes, pick: random.Random) -> bytes:
    place = pick.randrange(2, len(line) - 2)
    return line[:place] + pick.choice((b"\xff", b"\xfe\xff", b"\xc0\xaf")) + line[place:]  # never UTF-8, anywhere


def _utf16(line: bytes, pick: random.Random) -> bytes:
    return b"\xff\xfe" + line.decode().encode("utf-16-le")


def _random_bytes(line: bytes, pick: random.Random) -> bytes:
    return b"\xff" + pick.randbytes(pick.randrange(1, 400)).translate(None, b"\r\n")


def _without_field(line: bytes, pick: random.Random) -> bytes:
    fields = json.loads(line)
    del fields[pick.choice(("impression_id", "user_id", "time", "shown"))]
    return _dumped(fields)


def _null_field(line: bytes, pick: random.Random) -> bytes:
    return _dumped({**json.loads(line), pick.choice(("impression_id", "user_id", "time", "shown")): None})


def _repeated_field(line: bytes, pick: random.Random) -> bytes:
    name = pick.choice(("impression_id", "user_id", "time"))
    value = pick.choice((json.loads(line)[name], "i0000000"))
    return line[:-1] + b", " + _dumped({name: value})[1:]


def _windows_path(line: bytes, pick: random.Random) -> bytes:
    path = pick.choice(("C:\\logs\\2026-03-02\\", "\\\\collector-2\\logs\\"))
    return _in_id(line, pick, path)


def _control_in_id(line: bytes, pick: random.Random) -> bytes:
    return _in_id(line, pick, pick.choice(("\x00", "\n", "\x1b[0m")))


def _in_id(line: bytes, pick: random.Random, text: str) -> bytes:
    fields, name = json.loads(line), pick.choice(("impression_id", "user_id"))
    return _dumped({**fields, name: text + fields[name]})


def _impossible_time(line: bytes, pick: random.Random) -> bytes:
    return _dumped({**json.loads(line), "time": pick.choice(_IMPOSSIBLE)})


def _wrong_clock(line: bytes, pick: random.Random) -> bytes:
    fields = json.loads(line)  # one that was never set, and one that runs far ahead
    return _dumped({**fields, "time": pick.choice(("1970-01-01", "2126-03-02")) + fields["time"][10:]})


def _other_format(line: bytes, pick: random.Random) -> bytes:
    return _dumped({**json.loads(line), "time": pick.choice(("3/2/2026 9:15:31 AM", "20260302091531"))})


def _no_marks(line: bytes, pick: random.Random) -> bytes:
    return _dumped({**json.loads(line), "clicked": pick.choice(_NO_MARKS)})


def _nothing_shown(line: bytes, pick: random.Random) -> bytes:
    return _dumped({**json.loads(line), "shown": [], "clicked": []})


def _clicked_not_shown(line: bytes, pick: random.Random) -> bytes:
    fields = json.loads(line)
    clicked = pick.choice(fields["shown"])
    rest = [news for news in fields["shown"] if news != clicked]
    return _dumped({**fields, "shown": rest, "clicked": [clicked]})


def _too_long(line: bytes, pick: random.Random) -> bytes:
    return line[:-1] + b', "dump": "' + b"0123456789abcdef" * (TOO_LONG_BYTES // 16) + b'"}'


def _dumped(fields: dict[str, Any]) -> bytes:
    return json.dumps(fields).encode()


KINDS: tuple[tuple[str, Damage], ...] = (
    ("not_json", _cut_off),
    ("not_json", _blank),
    ("not_json", _glued),
    ("not_json", _with_nul),
    ("not_json", _only_nuls),
    ("not_json", _in_a_list),
    ("not_json", _bare_backslash),
    ("not_utf8", _wrong_bytes),
    ("not_utf8", _utf16),
    ("not_utf8", _random_bytes),
    ("missing_field", _without_field),
    ("missing_field", _null_field),
    ("duplicate_field", _repeated_field),
    ("bad_id", _windows_path),
    ("bad_id", _control_in_id),
    ("bad_time", _impossible_time),
    ("bad_time", _wrong_clock),
    ("bad_time", _other_format),
    ("bad_click_mark", _no_marks),
    ("nothing_shown", _nothing_shown),
    ("clicked_not_shown", _clicked_not_shown),
    ("too_long", _too_long),
)
