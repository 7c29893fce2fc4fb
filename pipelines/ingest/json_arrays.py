"""A .json file that is one array of records, instead of a record on each line: its records are its lines; no Spark."""

from __future__ import annotations

import gzip
import hashlib
import zlib
from collections.abc import Callable
from pathlib import Path

import msgspec

from pipelines.ingest.scan import Content, refuse_other_encoding
from schemas.errors import InputError

_NAMES = (".json", ".json.gz")
_LARGEST = 1 << 30  # it is held in memory at once
_BLANK = b" \t\r\n"
_MARK = b"\xef\xbb\xbf"
_START = 1 << 12  # bytes that are looked through for the bracket


def is_array(path: Path) -> bool:
    """Whether the file is named as JSON and begins as an array does; what cannot be read is none."""
    if not path.name.endswith(_NAMES):
        return False
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as stream:
            return stream.read(_START).removeprefix(_MARK).lstrip(_BLANK).startswith(b"[")
    except (OSError, EOFError, zlib.error):
        return False  # looking at all of it will tell why


def elements(path: Path) -> list[bytes]:
    """The text of each record of the array. InputError if the file is no array of JSON, or too large to be one."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as stream:
            text = stream.read(_LARGEST + 1)
    except (OSError, EOFError, zlib.error) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise InputError(f"cannot be read ({reason}). Fetch it again, or take it out of the folder") from error
    if len(text) > _LARGEST:
        raise InputError(f"is one JSON array of over {_LARGEST >> 20} MiB. Write a record on each line instead")
    refuse_other_encoding(text)
    try:
        return [bytes(raw) for raw in msgspec.json.decode(text.removeprefix(_MARK), type=list[msgspec.Raw])]
    except (msgspec.DecodeError, RecursionError) as error:
        raise InputError(
            f"begins as one JSON array and is none ({error}). Mend it, or write a record on each line"
        ) from error


def scan_array(path: Path, fault_of: Callable[[bytes], str | None]) -> Content | None:
    """The content of a file that is one array, None if it is empty. InputError if it holds no impression."""
    records = elements(path)
    if not records:
        return None
    if all(fault_of(record) for record in records):
        raise InputError(
            f"not one record of its array is an impression of this format. The first {fault_of(records[0])}. "
            "Check that this is the right file, or take it out of the folder"
        )
    return Content(
        bytes=path.stat().st_size,
        lines=len(records),
        first_line_sha256=hashlib.sha256(records[0]).hexdigest(),
        whole_lines=True,
    )
