"""One log file looked at, to its end and once: what it holds, or why it cannot be used; no Spark."""

from __future__ import annotations

import hashlib
import json
import zlib
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.ingest.fingerprint import TextHash, bytes_sha256, stamp_of
from pipelines.ingest.mapping import FIELDS, LISTS, LogMapping
from pipelines.ingest.pieces import Count, counted, footer_of, is_packed, lines_of, opened
from schemas.errors import InputError

MIND_COLUMNS = 5
Fault = Callable[[bytes], str | None]  # why a line could not be an impression, None if it could
Whole = Callable[[bytes], bool]  # whether a line without its line end cannot be the beginning of a longer one
_SHOWN = 8  # bytes of a strange line that are told: they may show its format, and hardly whose it is


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """How a file is looked at."""

    final: bool = False  # its last line is whole, line end or not
    mark: int = 0  # bytes of its text that were read before


_PLAIN_LOOK = Look()


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """What a file held when it was looked at: it may grow in the meantime."""

    bytes: int  # up to the end of its last whole line
    lines: int
    first_line_sha256: str
    whole_lines: bool  # a line end stands behind the last of them
    text_bytes: int  # of these lines, and
    text_sha256: str  # their hash (fingerprint.py)
    stamp: str | None
    begins: str | None = None  # the hash of the text that was read before, as it is now
    waiting: int = 0  # bytes of a line behind them that has no line end, and may go on
    types: tuple[tuple[str, str], ...] = ()  # of a Parquet file: of each column that is read


def scan_lines(path: Path, fault_of: Fault, whole_of: Whole, look: Look = _PLAIN_LOOK) -> Content | None:
    """The content of a file of lines, None if it has none. InputError if it is unreadable or holds no impression.

    A last line without a line end counts where it is whole: by `whole_of`, in a gzip, or because the look is final.
    """
    count = Count(TextHash(look.mark))
    try:
        stamp = stamp_of(path)
        with opened(path) as stream:
            chunks = counted(stream, count)
            first, good = _first_line(chunks, fault_of)
            deque(chunks, maxlen=0)  # a gzip that was cut short tells so at its end only
            size = path.stat().st_size if is_packed(path) else stream.tell()
    except (OSError, EOFError, zlib.error) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise InputError(f"cannot be read ({reason}). Fetch it again, or take it out of the folder") from error
    if first is None:
        return None
    taken = bool(count.tail) and (look.final or is_packed(path) or whole_of(bytes(count.tail)))
    if not good and (count.ends or taken):
        raise InputError(
            f"not one line is an impression of this format. Its first line {fault_of(first)}. "
            "Check that this is the right file, or take it out of the folder"
        )
    return Content(
        bytes=size if taken else size - len(count.tail),
        lines=count.ends + taken,
        first_line_sha256=hashlib.sha256(first).hexdigest(),
        whole_lines=not taken,
        text_bytes=count.text.bytes if taken else count.text.ended_bytes,
        text_sha256=count.text.sha256 if taken else count.text.ended_sha256,
        stamp=stamp,
        begins=count.text.at_mark,
        waiting=0 if taken else len(count.tail),
    )


def json_fault(mapping: LogMapping) -> Fault:
    """Whether a line could be an impression of the mapping: an object that has its columns."""
    wanted = [column for name, column in mapping.columns.items() if name != "clicked"]

    def fault(line: bytes) -> str | None:
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            return f"is not JSON: it begins with {line[:_SHOWN]!r}"
        if not isinstance(record, dict):
            return f"is no JSON object: it begins with {line[:_SHOWN]!r}"
        missing = [column for column in wanted if not _holds(record, column.split("."))]
        return f"has the fields {sorted(record)} and lacks {missing}" if missing else None

    return fault


def mind_fault(line: bytes) -> str | None:
    """Whether a line could be one of MIND's behaviors.tsv."""
    columns = line.count(b"\t") + 1
    return None if columns == MIND_COLUMNS else f"has {columns} tab-separated columns instead of {MIND_COLUMNS}"


def whole_json(line: bytes) -> bool:
    """Whether a line is a whole JSON object: its last brace closes it."""
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def scan_parquet(path: Path, columns: dict[str, str]) -> Content | None:
    """The content of a Parquet file that has `columns` (field -> dotted name), None if it has no rows."""
    try:
        stamp = stamp_of(path)
        with path.open("rb") as stream:
            file = pq.ParquetFile(stream)
            types = {name: _type(file.schema_arrow, name, column) for name, column in columns.items()}
            wanted = sorted(set(columns.values()))
            rows = sum(len(batch) for batch in file.iter_batches(columns=wanted))  # a page may be broken anywhere
            footer = footer_of(stream)
        whole = bytes_sha256(path)
    except (OSError, pa.ArrowException) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error).splitlines()[0]
        raise InputError(f"is no readable Parquet file ({reason}). Fetch it again, or take it out") from error
    if rows == 0:
        return None
    size = path.stat().st_size
    return Content(
        bytes=size,
        lines=rows,
        first_line_sha256=footer,
        whole_lines=True,
        text_bytes=size,
        text_sha256=whole,
        stamp=stamp,
        begins=whole,
        types=tuple((name, str(kind)) for name, kind in types.items()),
    )


def _first_line(chunks: Iterator[bytes], fault_of: Fault) -> tuple[bytes | None, bool]:
    """The first line, None if there is none, and whether a line could be an impression; reads on until one could."""
    first: bytes | None = None
    for line in lines_of(chunks):
        first = line if first is None else first
        if fault_of(line) is None:
            return first, True
    return first, False


def _holds(record: object, path: list[str]) -> bool:
    if not path:
        return True
    return isinstance(record, dict) and path[0] in record and _holds(record[path[0]], path[1:])


def _type(schema: pa.Schema, name: str, column: str) -> pa.DataType:
    """The type of a (dotted) column, if the field `name` can be read from it."""
    kind: pa.DataType = pa.struct(list(schema))
    for part in column.split("."):
        names = [kind.field(i).name for i in range(kind.num_fields)] if pa.types.is_struct(kind) else []
        if part not in names:
            raise InputError(f"has no column {column}; it has {', '.join(names)}. Mend the mapping")
        kind = kind.field(names.index(part)).type
    is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind)
    if name in LISTS and not (is_list and not pa.types.is_nested(kind.value_type)):
        raise InputError(f"its column {column} is {kind}, and {name} is read from a list. Mend the mapping")
    if name in FIELDS and name not in LISTS and pa.types.is_nested(kind):
        raise InputError(f"its column {column} is {kind}, and {name} is a single value. Mend the mapping")
    return kind
