"""Which files of a folder are logs, in which format, and whether they can be used at all; no Spark."""

from __future__ import annotations

import gzip
import json
import zlib
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from schemas.errors import InputError

FORMATS = ("jsonl", "mind")
JSON_FIELDS = ("impression_id", "user_id", "time", "history", "shown")
MIND_COLUMNS = 5
_PATTERNS = {
    "jsonl": ("logs/*.jsonl", "logs/*.jsonl.gz"),
    "mind": ("behaviors.tsv", "behaviors.tsv.gz"),
}
_SUFFIXES = {"jsonl": (".jsonl", ".jsonl.gz"), "mind": (".tsv", ".tsv.gz")}


@dataclass(frozen=True, slots=True, kw_only=True)
class LogFile:
    """One file of logs; `name` is its path below the folder that is ingested."""

    path: Path
    name: str
    first_line: bytes


def format_of(name: str) -> str:
    """The format of a log file, told by its suffix, so that a batch can be read again without being told."""
    for format, suffixes in _SUFFIXES.items():
        if name.endswith(suffixes):
            return format
    wanted = ", ".join(suffix for suffixes in _SUFFIXES.values() for suffix in suffixes)
    raise InputError(f"{name}: a log file ends in one of {wanted}. Rename it, or name a folder")


def find_logs(logs: Path, format: str) -> list[LogFile]:
    """The log files of a folder (or the one file named) that hold lines, by name; each has a usable line.

    Names that start with `.` or `_` are left out: they are what collectors call files still being written.
    """
    if format not in (*FORMATS, "auto"):
        raise InputError(f"unknown log format {format!r}: it is one of {', '.join(FORMATS)}, or auto")
    if not logs.exists():
        raise InputError(f"{logs}: no such folder. Make a sample with ./feedloop make_sample, or name a folder of logs")
    paths = [logs] if logs.is_file() else _in_folder(logs, format)
    if logs.is_file() and format not in ("auto", format_of(logs.name)):
        raise InputError(f"{logs}: a {format_of(logs.name)} file by its name, but the format asked for is {format}")
    folder = logs.parent if logs.is_file() else logs
    files = [_checked(path, str(path.relative_to(folder))) for path in paths]
    used = [file for file in files if file is not None]
    if not used:
        raise InputError(f"{logs}: its log files hold no line at all ({', '.join(p.name for p in paths[:3])})")
    return used


def new_files(files: list[LogFile], known: Mapping[str, bytes]) -> list[LogFile]:
    """Files that no batch holds; `known` maps each ingested file to its first line.

    A known name over other content is refused: skipping it would lose its lines without a word.
    """
    for file in files:
        if file.name in known and known[file.name] != file.first_line:
            raise InputError(
                f"{file.path}: a file named {file.name} was ingested before, and began with another line. "
                "Give this folder its own --source, or the file its own name"
            )
    return [file for file in files if file.name not in known]


def _in_folder(logs: Path, format: str) -> list[Path]:
    wanted = FORMATS if format == "auto" else (format,)
    found = {name: sorted(p for pattern in _PATTERNS[name] for p in logs.glob(pattern)) for name in wanted}
    found = {name: [path for path in paths if path.name[0] not in "._"] for name, paths in found.items()}
    present = [name for name in wanted if found[name]]
    if not present:
        looked = " or ".join(f"{' and '.join(_PATTERNS[name])} ({name})" for name in wanted)
        raise InputError(f"{logs}: no logs there. Looked for {looked}")
    if len(present) > 1:
        raise InputError(f"{logs}: holds logs of several formats, {' and '.join(present)}. Say which with --format")
    return found[present[0]]


def _checked(path: Path, name: str) -> LogFile | None:
    """The file, or None if it is empty; an error if not one of its lines could be an impression."""
    fault_of = _FAULTS[format_of(name)]
    first: bytes | None = None
    try:
        lines = _lines(path)
        for line in lines:
            first = line if first is None else first
            if fault_of(line) is None:
                if path.suffix == ".gz":  # a gzip that was cut short tells so at its end only
                    deque(lines, maxlen=0)
                return LogFile(path=path, name=name, first_line=first)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path}: cannot be read ({error}). Fetch it again, or take it out of the folder") from error
    if first is None:
        return None
    raise InputError(
        f"{path}: not one line is an impression of format {format_of(name)}. Its first line {fault_of(first)}. "
        "Check that this is the right file, or take it out of the folder"
    )


def _lines(path: Path) -> Iterator[bytes]:
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as stream:
        for number, line in enumerate(stream):
            bare = line.removesuffix(b"\n")
            yield bare.removeprefix(b"\xef\xbb\xbf") if number == 0 else bare


def _json_fault(line: bytes) -> str | None:
    try:
        record = json.loads(line)
    except ValueError:
        return f"is not JSON: {line[:80]!r}"
    if not isinstance(record, dict):
        return f"is no JSON object: {line[:80]!r}"
    missing = [name for name in JSON_FIELDS if name not in record]
    return f"has the fields {sorted(record)} and lacks {missing}" if missing else None


def _mind_fault(line: bytes) -> str | None:
    columns = line.count(b"\t") + 1
    return None if columns == MIND_COLUMNS else f"has {columns} tab-separated columns instead of {MIND_COLUMNS}"


_FAULTS: dict[str, Callable[[bytes], str | None]] = {"jsonl": _json_fault, "mind": _mind_fault}
