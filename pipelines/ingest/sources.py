"""Which files a folder of logs holds, in which format, and what of them is new; no Spark."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from pipelines.ingest.columns import TEXT
from pipelines.ingest.formats import FORMATS, PATTERNS, SCANS, format_of
from pipelines.ingest.mapping import JSONL, LogMapping
from pipelines.ingest.scan import Content, begins_with, start_of
from schemas.errors import InputError

_UNPACKED = 8  # bytes of text in a byte of gzip or Parquet, about


@dataclass(frozen=True, slots=True, kw_only=True)
class LogFile:
    """One file of logs as it was when it was looked at; `name` is its path below the folder that is ingested."""

    path: Path
    name: str
    format: str  # of FORMATS, or mapped
    lines_format: str  # what RAW_LOG.format tells of its lines
    bytes: int
    lines: int  # what comes after them has to wait for the next run
    first_line_sha256: str  # of a Parquet file: of its footer
    whole_lines: bool  # it ended with a line end
    skip: int = 0  # lines that were read before
    mapping: LogMapping | None = None
    types: tuple[tuple[str, str], ...] = ()  # of a Parquet file's columns
    table: str = ""  # a file of a Delta table: where that lies, and
    table_version: int = 0  # in which of its versions the file was listed


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What INGEST_FILES tells of a file that was read before."""

    bytes: int
    lines: int
    first_line_sha256: str
    whole_lines: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The files that can be read, by name, and those that cannot, each with its reason."""

    files: list[LogFile]
    unreadable: dict[str, str] = field(default_factory=dict)


def find_logs(logs: Path, format: str = "auto", *, mapping: LogMapping | None = None) -> Found:
    """The log files of a folder (or the one file named) that hold lines. InputError if there is not one to be used.

    Names that start with `.` or `_` are left out: they are what collectors call files still being written.
    """
    return find_usable(log_paths(logs, format, mapping), logs, mapping, {})


def log_paths(logs: Path, format: str, mapping: LogMapping | None) -> list[Path]:
    """The files of the folder that are named as the format (or the mapping) says, one at least."""
    if format not in (*FORMATS, "auto"):
        raise InputError(f"unknown log format {format!r}: it is one of {', '.join(FORMATS)}, or auto")
    if not logs.exists():
        raise InputError(f"{logs}: no such folder. Make a sample with ./feedloop make_sample, or name a folder of logs")
    if logs.is_file():
        if mapping is None and format not in ("auto", format_of(logs.name)):
            raise InputError(f"{logs}: a {format_of(logs.name)} file by its name, but the format asked for is {format}")
        return [logs]
    patterns = log_patterns(logs, format, mapping)
    paths = matching(logs, patterns)
    if mapping is not None:
        paths = [path for path in paths if not path.is_dir()]  # **/*.parquet also finds folders that Spark wrote
    if not paths:
        raise InputError(f"{logs}: no logs there. Looked for {' and '.join(patterns)}")
    return paths


def log_patterns(logs: Path, format: str, mapping: LogMapping | None) -> tuple[str, ...]:
    """The globs below the folder that its log files match; `auto` looks which format it holds."""
    if mapping is not None:
        return (mapping.files,)
    if format != "auto":
        return PATTERNS[format]
    present = [name for name in FORMATS if matching(logs, PATTERNS[name])]
    if len(present) > 1:
        raise InputError(f"{logs}: holds logs of several formats, {' and '.join(present)}. Say which with --format")
    if not present:
        looked = " or ".join(f"{' and '.join(PATTERNS[name])} ({name})" for name in FORMATS)
        raise InputError(f"{logs}: no logs there. Looked for {looked}. For other logs give a --mapping")
    return PATTERNS[present[0]]


def look_at(paths: Iterable[Path], logs: Path, mapping: LogMapping | None = None) -> Found:
    """Each file read to its end once: those that hold lines, and those that cannot be used with the reason."""
    folder = logs.parent if logs.is_file() else logs
    found = Found(files=[])
    for path in paths:
        name = str(path.relative_to(folder))
        try:
            format = "mapped" if mapping else format_of(name)
            content = SCANS[format](path, mapping or LogMapping())
        except InputError as error:
            found.unreadable[name] = str(error)
            continue
        if content is not None:
            found.files.append(_log_file(path, name, format, content, mapping))
    return found


def find_new(paths: Iterable[Path], logs: Path, mapping: LogMapping | None, known: Mapping[str, Known]) -> Found:
    """What the lake lacks of these files; of those that it has, only the start is looked at."""
    folder = logs.parent if logs.is_file() else logs
    other = [path for path in paths if not _is_unchanged(path, known.get(str(path.relative_to(folder))))]
    return new_files(look_at(other, logs, mapping), known)


def find_usable(paths: Iterable[Path], logs: Path, mapping: LogMapping | None, known: Mapping[str, Known]) -> Found:
    """As `find_new`. InputError if there is not one file to be used, now or before."""
    new = find_new(paths, logs, mapping, known)
    if not new.files and not known:
        reasons = [f"{name}: {reason}" for name, reason in list(new.unreadable.items())[:3]]
        raise InputError(f"{logs}: " + ("; ".join(reasons) or "its log files hold no line at all"))
    return new


def new_files(found: Found, known: Mapping[str, Known]) -> Found:
    """What is not in the lake yet: unknown files, and grown ones with the lines to skip.

    A known name over other content is unreadable: skipping it would lose its lines without a word.
    """
    new = Found(files=[], unreadable=dict(found.unreadable))
    for file in found.files:
        before = known.get(file.name)
        if before is None:
            new.files.append(file)
        elif not _continues(file, before):
            new.unreadable[file.name] = (
                "a file of this name was ingested before, and was longer or began with another line. "
                "Give this folder its own --source, or the file its own name"
            )
        elif file.bytes > before.bytes:
            skip = before.lines - (not before.whole_lines)
            if skip < file.lines:  # the same lines may take more bytes: packed again, other line ends
                new.files.append(replace(file, skip=skip))
    return new


def in_batches(files: Iterable[LogFile], max_bytes: int) -> list[list[LogFile]]:
    """The files cut into batches of at most `max_bytes` of text, one file at least, and of one kind."""
    batches: list[list[LogFile]] = []
    room = 0
    for file in sorted(files, key=_kind):
        size = file.bytes * (_UNPACKED if file.types or file.table or file.path.suffix == ".gz" else 1)
        if not batches or size > room or _kind(file) != _kind(batches[-1][0]):
            batches.append([])
            room = max_bytes
        batches[-1].append(file)
        room -= size
    return batches


def _kind(file: LogFile) -> tuple[object, ...]:
    """What the files of a batch have in common: Spark reads them by one schema."""
    return file.lines_format, file.types


def _is_unchanged(path: Path, before: Known | None) -> bool:
    try:
        same_size = before is not None and path.stat().st_size == before.bytes
        return before is not None and same_size and start_of(path) == before.first_line_sha256
    except (OSError, EOFError, zlib.error):
        return False  # looking at all of it will tell why


def _continues(file: LogFile, before: Known) -> bool:
    if file.bytes < before.bytes:
        return False
    if file.first_line_sha256 == before.first_line_sha256:
        return True
    begun = before.lines == 1 and not before.whole_lines and file.path.suffix != ".gz"  # its only line was half written
    return begun and begins_with(file.path, before.bytes, before.first_line_sha256)


def matching(logs: Path, patterns: Iterable[str]) -> list[Path]:
    """The files below the folder that match one of the globs, but for hidden ones."""
    paths = {path for pattern in patterns for path in logs.glob(pattern)}
    return sorted(path for path in paths if not any(part[0] in "._" for part in path.relative_to(logs).parts))


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
        mapping=mapping,
        types=content.types,
    )


def _lines_format(format: str, content: Content, mapping: LogMapping | None) -> str:
    if mapping is None:
        return "mind" if format == "mind" else JSONL
    if mapping.format == JSONL:
        return mapping.as_format
    return mapping.of_rows(typed_time=dict(content.types)["time"] != TEXT).as_format
