"""Damage: what may stand in place of a JSON or TOML file that a job reads, and how every reader must refuse it."""

from __future__ import annotations

import json
import os
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from schemas.errors import InputError

MOST_MEMORY = 200 << 20  # bytes that a refusal may take
HANG = 60  # seconds after which a reader hangs; a refusal takes milliseconds

Change = Callable[[Any], Any]  # of a file's JSON value, in place


def damaged_texts(intact: bytes) -> dict[str, bytes]:
    """What is no JSON of this contract, whatever the contract says, by its name."""
    value = json.loads(intact)
    first = next(iter(value), "a") if isinstance(value, dict) else "a"
    name = json.dumps(first).encode()
    return {
        "empty": b"",
        "blank": b" \n\t",
        "zero bytes": bytes(len(intact)),
        "not UTF-8": intact.replace(b'"', b'"\xff', 1),
        "UTF-16": intact.decode().encode("utf-16"),
        "a byte order mark": b"\xef\xbb\xbf" + intact,
        "cut short": intact.rstrip()[:-1],
        "cut in half": intact[: len(intact) // 2],
        "more behind it": intact + b"{}",
        "10,000 deep": b"[" * 10_000 + b"]" * 10_000,
        "objects 10,000 deep": b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
        "deep inside": b"{" + name + b":" + b"[" * 300 + b"]" * 300 + b"}",
        "5,000 digits": b"{" + name + b":" + b"9" * 5_000 + b"}",
        "a fraction of 5,000 digits": b"{" + name + b":0." + b"9" * 5_000 + b"}",
        "1e400": b"{" + name + b":1e400}",
        "NaN": b"{" + name + b":NaN}",
        "-Infinity": b"{" + name + b":-Infinity}",
        "a name twice": b"{" + name + b":1," + name + b":1}",
        "single quotes": intact.replace(b'"', b"'"),
        "a comment": b"// as JavaScript\n" + intact,
        "a comma too many": intact.rstrip()[:-1] + b",}",
        "half a surrogate": b"{" + name + b':"\\ud800"}',
        "a control character": b"{" + name + b':"\x01"}',
        "null": b"null",
        "true": b"true",
        "a number": b"7",
        "a text": b'"text"',
        "a list of null": b"[null]",
        "another kind": b"{}" if isinstance(value, list) else b"[]",
        "an object of nothing known": b'{"nothing": "known"}',
    }


def _fifo(path: Path) -> None:
    os.mkfifo(path)


def _device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def _circle(path: Path) -> None:
    other = path.with_name(f"{path.name}.other")
    path.symlink_to(other)
    other.symlink_to(path)


def _sparse(path: Path) -> None:
    with path.open("wb") as stream:
        stream.truncate(1 << 40)


ODD_FILES: dict[str, Callable[[Path], None]] = {
    "a FIFO": _fifo,
    "a device": _device,
    "a directory": Path.mkdir,
    "links in a circle": _circle,
    "a terabyte of nothing": _sparse,
}


@contextmanager
def in_place_of(path: Path, make: Callable[[Path], None]) -> Iterator[None]:
    """Inside, `make` has put something else where the file stands; afterwards the file is back."""
    aside = path.with_name(f"{path.name}.aside")
    path.rename(aside)
    try:
        make(path)
        yield
    finally:
        if path.is_dir() and not path.is_symlink():
            path.rmdir()
        else:
            path.unlink(missing_ok=True)
        path.with_name(f"{path.name}.other").unlink(missing_ok=True)
        aside.rename(path)


def refusal(read: Callable[[], object], file: str, advice: str = r"[A-Z]\w+ .*") -> str:
    """The one message by which `read` refuses: it names the file and says what to do, in little memory."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(InputError, match=rf"(?s)\. {advice}|: {advice}") as caught:
        read()
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) << 10
    message = str(caught.value)
    assert file in message
    assert "\n" not in message.strip(), message
    assert len(message) < 2_000, message
    assert grown < MOST_MEMORY, f"{grown} bytes to refuse {file}"
    return message


def changed(intact: bytes, change: Change) -> bytes:
    """The JSON text with its value changed in place."""
    value = json.loads(intact)
    change(value)
    return json.dumps(value).encode()


def wrong_values(intact: bytes) -> dict[str, bytes]:
    """Each top-level name of an object left out, and each with values of other kinds."""
    value = json.loads(intact)
    texts = {}
    for name, found in value.items():
        texts[f"without {name}"] = json.dumps({key: inner for key, inner in value.items() if key != name}).encode()
        for other in (None, True, "text", [], {}, 1.5, -1, 10**12, 10**18):
            if not _alike(found, other):
                texts[f"{name} is {other}"] = json.dumps(value | {name: other}).encode()
    return texts


def _alike(found: object, other: object) -> bool:
    """Whether a reader could rightly take the one for the other."""
    number = isinstance(found, int | float) and not isinstance(found, bool)
    if number:
        return isinstance(other, int | float) and not isinstance(other, bool)
    return type(found) is type(other) or found is None
