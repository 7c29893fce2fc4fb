"""Inspects one log file: the lines that a run has to read, given what was read of the file before; no Spark."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from pipelines.compressed import is_compressed
from pipelines.ingest.discover.formats import SCANS, format_of
from pipelines.ingest.discover.log_file import UNPACKED, LogFile, size_of
from pipelines.ingest.discover.previous_reads import (
    Known,
    fault_of,
    is_unchanged,
    last_line_waits,
    read_before,
    waiting,
)
from pipelines.ingest.discover.scan import Content, ScanOptions
from pipelines.ingest.parse.columns import TEXT
from pipelines.ingest.parse.mapping import JSONL, LogMapping
from schemas.errors import InputError


class MapItems(Protocol):
    """Calls a function for each item, in this process or in tasks, and returns the results in their order."""

    def __call__(self, function: Callable[[Any], Any], items: Sequence[Any], sizes: Sequence[int]) -> list[Any]:
        """`sizes`: bytes that the function reads for each item."""
        ...


def map_in_process(function: Callable[[Any], Any], items: Sequence[Any], sizes: Sequence[int]) -> list[Any]:
    """MapItems in this process, one item after the other."""
    return [function(item) for item in items]


@dataclass(frozen=True, slots=True)
class Inspection:
    """A file to inspect, and what was read of it before."""

    path: Path
    name: str
    before: Known | None

    @property
    def size(self) -> int:
        """Approximate bytes to read; 0 if they cannot be read, for the inspection reports why."""
        return size_of(self.path) * (UNPACKED if is_compressed(self.path.name) else 1)


class InspectionResult(NamedTuple):
    """The file if it has new lines, or the reason why it cannot be read; `waits`: its last line has no line end yet."""

    file: LogFile | None = None
    reason: str | None = None
    waits: bool = False


def result_if_unchanged(file: Inspection, *, mapping: LogMapping | None, final: bool) -> InspectionResult | None:
    """The result for a file that is known to be unchanged; None if the file has to be read."""
    if file.before is None or not is_unchanged(file.path, _format(file.name, mapping), file.before):
        return None
    waits = last_line_waits(file.path, file.before)
    return None if waits and final else InspectionResult(waits=waits)


def inspect_file(inspection: Inspection, *, mapping: LogMapping | None, final: bool) -> InspectionResult:
    """The result of reading the file to its end."""
    path, before = inspection.path, inspection.before
    try:
        name = _readable_name(inspection.name)
        format = _format(name, mapping)
        options = ScanOptions(final=final, mark=0 if before is None else before.text_bytes or 0)
        content = SCANS[format](path, mapping or LogMapping(), options)
        if content is None:
            return InspectionResult()
        fault = None if before is None else fault_of(path, content, before)
        if fault is not None:
            return InspectionResult(reason=fault)
        skip = 0 if before is None else read_before(path, content, before)
        file = replace(_log_file(path, name, format, content, mapping), skip=skip) if skip < content.lines else None
        return InspectionResult(file, waits=waiting(content, before))
    except InputError as error:
        return InspectionResult(reason=str(error))


def _format(name: str, mapping: LogMapping | None) -> str:
    return "mapped" if mapping else format_of(name)


def _readable_name(name: str) -> str:
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise InputError("its name is no UTF-8, and no table can hold it. Rename it") from error
    return name


def shown_name(name: str) -> str:
    """The name in printable form: bytes that are not UTF-8 become escapes."""
    return name.encode(errors="backslashreplace").decode()


def _log_file(path: Path, name: str, format: str, content: Content, mapping: LogMapping | None) -> LogFile:
    return LogFile(
        path=path,
        name=name,
        format=format,
        lines_format=_lines_format(format, content, mapping),
        bytes=content.bytes,
        lines=content.lines,
        first_line_sha256=content.first_line_sha256,
        whole_lines=content.whole_lines,
        text_bytes=content.text_bytes,
        text_sha256=content.text_sha256,
        stamp=content.stamp,
        mapping=mapping,
        types=content.types,
        cuts=content.cuts,
    )


def _lines_format(format: str, content: Content, mapping: LogMapping | None) -> str:
    if mapping is None:
        return "mind" if format == "mind" else JSONL
    if mapping.format == JSONL:
        return mapping.as_format
    return mapping.of_rows(typed_time=dict(content.types)["time"] != TEXT).as_format
