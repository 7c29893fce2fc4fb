"""Reads a .json file that is one array of records instead of a record on each line: records become lines; no Spark."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec

from pipelines.compressed import UNREADABLE, opened, with_compressed
from pipelines.ingest.discover.fingerprint import TextHash, stamp_of
from pipelines.ingest.discover.pieces import refuse_other_encoding
from pipelines.ingest.discover.scan import DEFAULT_SCAN, Content, ScanOptions
from schemas.errors import InputError

_NAMES = with_compressed(".json")
_LARGEST = 1 << 30  # bytes: the file is held in memory
_BLANK = b" \t\r\n"
_MARK = b"\xef\xbb\xbf"
_START = 1 << 12  # bytes searched for the bracket


def is_array(path: Path) -> bool:
    """Whether the file is named as JSON and begins as an array; False for a file that cannot be read."""
    if not path.name.endswith(_NAMES):
        return False
    try:
        with opened(path) as stream:
            return stream.read(_START).removeprefix(_MARK).lstrip(_BLANK).startswith(b"[")
    except UNREADABLE:
        return False  # the full inspection reports why


def elements(path: Path) -> list[bytes]:
    """The text of each record of the array. InputError if the file is no array of JSON, or too large to be one."""
    return _read(path)[2]


def _read(path: Path) -> tuple[int, str | None, list[bytes]]:
    """The file's size and its stamp before it is read, and the text of each record."""
    try:
        size, stamp = path.stat().st_size, stamp_of(path)
        with opened(path) as stream:
            text = stream.read(_LARGEST + 1)
    except UNREADABLE as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise InputError(f"cannot be read ({reason}). Fetch it again, or take it out of the folder") from error
    if len(text) > _LARGEST:
        raise InputError(f"is one JSON array of over {_LARGEST >> 20} MiB. Write a record on each line instead")
    refuse_other_encoding(text)
    try:
        records = msgspec.json.decode(text.removeprefix(_MARK), type=list[msgspec.Raw])
    except (msgspec.DecodeError, RecursionError) as error:
        raise InputError(
            f"begins as one JSON array and is not one ({error}). Mend it, or write a record on each line"
        ) from error
    return size, stamp, [bytes(record) for record in records]


def scan_array(
    path: Path, fault_of: Callable[[bytes], str | None], options: ScanOptions = DEFAULT_SCAN
) -> Content | None:
    """The content of a file that is one array; None if it is empty. InputError if it holds no impression."""
    size, stamp, records = _read(path)
    if not records:
        return None
    if all(fault_of(record) for record in records):
        raise InputError(
            f"no record of its array is an impression of this format. The first {fault_of(records[0])}. "
            "Check that this is the right file, or take it out of the folder"
        )
    text = _text_hash(records, options.mark)
    return Content(
        bytes=size,
        lines=len(records),
        first_line_sha256=hashlib.sha256(records[0]).hexdigest(),
        whole_lines=True,
        text_bytes=text.bytes,
        text_sha256=text.sha256,
        stamp=stamp,
        begins=text.at_mark,
    )


def array_sha256(path: Path, size: int) -> str | None:
    """The hash of the first `size` bytes of an array's records, as lines; None if they are shorter."""
    return _text_hash(elements(path), size).at_mark


def _text_hash(records: Iterable[bytes], mark: int) -> TextHash:
    """The hash of the records as lines, so that an array written again with more records continues the earlier one."""
    text = TextHash(mark)
    for record in records:
        text.add(record + b"\n", len(record) + 1)
    return text
