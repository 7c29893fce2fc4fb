"""Which files a folder of logs holds, in which format, and what of them is new; no Spark."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from pipelines.ingest.columns import TEXT
from pipelines.ingest.formats import FORMATS, PATTERNS, SCANS, format_of
from pipelines.ingest.known import Known, fault_of, is_unchanged, last_line_waits, read_before, waiting
from pipelines.ingest.mapping import JSONL, LogMapping
from pipelines.ingest.scan import Content, Look
from schemas.errors import InputError

_UNPACKED = 8  # bytes of text in a byte of gzip or Parquet, about


@dataclass(frozen=True, slots=True, kw_only=True)
class LogFile:
    """One file of logs as it was when it was looked at; `name` is its path below the folder that is ingested."""

    path: Path
    name: str
    format: str  # of FORMATS, or mapped
    lines_format: str  # what RAW_LOG.format tells of its lines
    bytes: int  # up to the end of its last line
    lines: int  # what comes after them has to wait for the next run
    first_line_sha256: str  # of a Parquet file: of its footer
    whole_lines: bool  # they end with a line end
    text_bytes: int | None = None  # of these lines, and
    text_sha256: str | None = None  # their hash (fingerprint.py); None of a Delta table's file, which never changes
    stamp: str | None = None  # of the file before it was looked at
    skip: int = 0  # lines that were read before
    mapping: LogMapping | None = None
    types: tuple[tuple[str, str], ...] = ()  # of a Parquet file's columns
    table: str = ""  # a file of a Delta table: where that lies, and
    table_version: int = 0  # in which of its versions the file was listed


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What is new: files with lines to read, files that cannot be read, each with its reason, and the names of those
    whose last line waits for its line end.
    """

    files: list[LogFile]
    unreadable: dict[str, str] = field(default_factory=dict)
    unfinished: list[str] = field(default_factory=list)


def find_logs(logs: Path, format: str = "auto", *, mapping: LogMapping | None = None, final: bool = False) -> Found:
    """The log files of a folder (or the one file named) that hold lines. InputError if there is not one to be used.

    Names that start with `.` or `_` are left out: they are what collectors call files still being written.
    """
    return find_usable(log_paths(logs, format, mapping), logs, mapping, {}, final=final)


def log_paths(logs: Path, format: str, mapping: LogMapping | None) -> list[Path]:
    """The files of the folder that are named as the format (or the mapping) says, one at least."""
    if format not in (*FORMATS, "auto"):
        raise InputError(f"unknown log format {format!r}: it is one of {', '.join(FORMATS)}, or auto")
    if not logs.exists():
        raise InputError(f"{logs}: no such folder. Make a sample with ./feedloop make_sample, or name a folder of logs")
    if logs.is_file():
        if is_hidden(logs.name):
            raise InputError(f"{logs}: a name that begins with . or _ is that of a file still being written. Rename it")
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


def find_new(
    paths: Iterable[Path], logs: Path, mapping: LogMapping | None, known: Mapping[str, Known], *, final: bool = False
) -> Found:
    """What the lake lacks of these files: unknown ones, and grown ones with the lines to skip. A file that is not known
    to be as it was is read to its end once. `final`: last lines count, whatever they end with.

    A known name over other content is unreadable: skipping it would lose its lines without a word.
    """
    folder = logs.parent if logs.is_file() else logs
    found = Found(files=[])
    for path in paths:
        name = str(path.relative_to(folder))
        try:
            _find_in_file(found, path, _readable_name(name), mapping, known.get(name), final=final)
        except InputError as error:
            found.unreadable[shown_name(name)] = str(error)
    return found


def find_usable(
    paths: Iterable[Path], logs: Path, mapping: LogMapping | None, known: Mapping[str, Known], *, final: bool = False
) -> Found:
    """As `find_new`. InputError if there is not one file to be used, now or before."""
    new = find_new(paths, logs, mapping, known, final=final)
    if not new.files and not known:
        reasons = [f"{name}: {reason}" for name, reason in list(new.unreadable.items())[:3]]
        if new.unfinished:
            reasons.append(
                f"{new.unfinished[0]}: its only line has no line end and may be half of one. Wait for its writer, or "
                "give --final"
            )
        raise InputError(f"{logs}: " + ("; ".join(reasons) or "its log files hold no line at all"))
    return new


def _find_in_file(
    found: Found, path: Path, name: str, mapping: LogMapping | None, before: Known | None, *, final: bool
) -> None:
    format = "mapped" if mapping else format_of(name)
    if before is not None and is_unchanged(path, format, before):
        if not last_line_waits(path, before):
            return
        if not final:
            found.unfinished.append(name)
            return
    look = Look(final=final, mark=0 if before is None else before.text_bytes or 0)
    content = SCANS[format](path, mapping or LogMapping(), look)
    if content is None:
        return
    fault = None if before is None else fault_of(path, content, before)
    if fault is not None:
        raise InputError(fault)
    if waiting(content, before):
        found.unfinished.append(name)
    skip = 0 if before is None else read_before(path, content, before)
    if skip < content.lines:
        found.files.append(replace(_log_file(path, name, format, content, mapping), skip=skip))


def _readable_name(name: str) -> str:
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise InputError("its name is no UTF-8, and Java cannot open it. Rename it") from error
    return name


def shown_name(name: str) -> str:
    """The name as it can be printed: bytes that are no UTF-8 as escapes."""
    return name.encode(errors="backslashreplace").decode()


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


def matching(logs: Path, patterns: Iterable[str]) -> list[Path]:
    """The files below the folder that match one of the globs, but for hidden ones."""
    paths = {path for pattern in patterns for path in logs.glob(pattern)}
    return sorted(path for path in paths if not any(is_hidden(part) for part in path.relative_to(logs).parts))


def is_hidden(name: str) -> bool:
    """Whether this is how collectors and Hadoop name what is still being written; Spark reads no such file."""
    return name[0] in "._" or name.endswith("._COPYING_")


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
    )


def _lines_format(format: str, content: Content, mapping: LogMapping | None) -> str:
    if mapping is None:
        return "mind" if format == "mind" else JSONL
    if mapping.format == JSONL:
        return mapping.as_format
    return mapping.of_rows(typed_time=dict(content.types)["time"] != TEXT).as_format
