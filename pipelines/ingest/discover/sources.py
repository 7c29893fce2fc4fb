"""Finds the log files of a folder, their format, and the new files and lines among them; no Spark."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from pipelines.compressed import shown
from pipelines.ingest.discover.formats import FORMATS, PATTERNS, format_of
from pipelines.ingest.discover.inspect_file import (
    Inspection,
    MapItems,
    inspect_file,
    map_in_process,
    result_if_unchanged,
    shown_name,
)
from pipelines.ingest.discover.listing import Since, is_hidden, list_matching, tree_of
from pipelines.ingest.discover.log_file import LogFile
from pipelines.ingest.discover.previous_reads import Known
from pipelines.ingest.parse.mapping import LogMapping
from schemas.errors import InputError


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The new files: those with lines to read, those that cannot be read, each with its reason, and the names of those
    whose last line waits for its line end.
    """

    files: list[LogFile]
    unreadable: dict[str, str] = field(default_factory=dict)
    unfinished: list[str] = field(default_factory=list)


def find_logs(logs: Path, format: str = "auto", *, mapping: LogMapping | None = None, final: bool = False) -> Found:
    """The log files of a folder (or the one file named) that hold lines. InputError if none can be used.

    Names that start with `.` or `_` are left out: collectors give them to files still being written.
    """
    return find_usable(log_paths(logs, format, mapping), logs, mapping, {}, final=final)


class Logs(NamedTuple):
    """The files of a folder of logs, in order; and the summary's entry about older ones that were left out."""

    paths: list[Path]
    left_out: Mapping[str, Any] = {}


def log_paths(logs: Path, format: str, mapping: LogMapping | None) -> list[Path]:
    """The files of the folder whose names fit the format (or the mapping). InputError if there is none."""
    return require_logs(logs, format, mapping).paths


def require_logs(logs: Path, format: str, mapping: LogMapping | None, since: Since | None = None) -> Logs:
    """The files of the folder whose names fit the format (or the mapping) and that are not older than `since`.
    InputError if there is none.
    """
    if format not in (*FORMATS, "auto"):
        raise InputError(f"unknown log format {format!r}: it is one of {', '.join(FORMATS)}, or auto")
    if not logs.exists():
        raise InputError(f"{logs}: no such folder. Make a sample with ./feedloop make_sample, or name a folder of logs")
    if logs.is_file():
        if is_hidden(logs.name):
            raise InputError(f"{logs}: names that begin with . or _ are for files still being written. Rename it")
        if mapping is None and format not in ("auto", format_of(logs.name)):
            raise InputError(f"{logs}: a {format_of(logs.name)} file by its name, but the given format is {format}")
        if since is not None:
            raise InputError(f"{logs}: one file, and logs_since selects the newer files of a folder: drop it")
        return Logs([logs])
    found = list_logs(logs, format, mapping, since)
    if mapping is not None:  # **/*.parquet also finds folders that Spark wrote
        found = found._replace(paths=[path for path in found.paths if not path.is_dir()])
    if not found.paths:
        raise InputError(f"{logs}: {_no_logs(since)}. Looked for {shown(_patterns(format, mapping))}")
    return found


def list_logs(logs: Path, format: str, mapping: LogMapping | None, since: Since | None = None) -> Logs:
    """The logs that the folder holds in the format, or by the mapping; for `auto`, InputError if it holds logs of no
    format or of several.
    """
    if mapping is None and format == "auto":
        return _of_one_format(logs, since)
    return matching_files(logs, _patterns(format, mapping), since)


def _patterns(format: str, mapping: LogMapping | None) -> tuple[str, ...]:
    return PATTERNS[format] if mapping is None else (mapping.files,)


def _of_one_format(logs: Path, since: Since | None) -> Logs:
    """The logs of the only format found in the folder."""
    if since is not None:
        since.check([pattern for patterns in PATTERNS.values() for pattern in patterns])
    possible = [name for name in FORMATS if since is None or since.fits(PATTERNS[name])]
    found = {name: some for name in possible if (some := matching_files(logs, PATTERNS[name], since)).paths}
    if len(found) > 1:
        raise InputError(f"{logs}: holds logs of several formats, {' and '.join(found)}. Choose one with --format")
    if not found:
        looked = " or ".join(f"{shown(PATTERNS[name])} ({name})" for name in FORMATS)
        raise InputError(f"{logs}: {_no_logs(since)}. Looked for {looked}. For other logs give a --mapping")
    return next(iter(found.values()))


def _no_logs(since: Since | None) -> str:
    return "no logs there" if since is None else f"no logs there from {since.text} on (--logs-since)"


def find_new(
    paths: Sequence[Path],
    logs: Path,
    mapping: LogMapping | None,
    known: Mapping[str, Known],
    *,
    final: bool = False,
    map_items: MapItems = map_in_process,
) -> Found:
    """The files that the lake lacks: unknown ones, and grown ones with the number of lines to skip. A file whose stamp
    does not show that it is unchanged is read to its end once, by `map_items`. `final`: a last line counts even without
    a line end.

    A file of a known name with other content is unreadable: skipping it would lose its lines silently.
    """
    folder = logs.parent if logs.is_file() else logs
    found = Found(files=[])
    names = [str(path.relative_to(folder)) for path in paths]
    inspections = [Inspection(path, name, known.get(name)) for path, name in zip(paths, names, strict=True)]
    unchanged = [result_if_unchanged(each, mapping=mapping, final=final) for each in inspections]
    to_read = [each for each, result in zip(inspections, unchanged, strict=True) if result is None]
    inspect = partial(inspect_file, mapping=mapping, final=final)
    results = iter(map_items(inspect, to_read, [each.size for each in to_read]))
    for name, result in zip(names, unchanged, strict=True):
        file, reason, waits = next(results) if result is None else result
        if file is not None:
            found.files.append(file)
        if reason is not None:
            found.unreadable[shown_name(name)] = reason
        if waits:
            found.unfinished.append(name)
    return found


def find_usable(
    paths: Sequence[Path],
    logs: Path,
    mapping: LogMapping | None,
    known: Mapping[str, Known],
    *,
    final: bool = False,
    map_items: MapItems = map_in_process,
) -> Found:
    """As `find_new`. InputError if no file can be used and none was read before."""
    new = find_new(paths, logs, mapping, known, final=final, map_items=map_items)
    if not new.files and not known:
        reasons = [f"{name}: {reason}" for name, reason in list(new.unreadable.items())[:3]]
        if new.unfinished:
            reasons.append(
                f"{new.unfinished[0]}: its only line has no line end and may be incomplete. Wait for its writer, or "
                "give --final"
            )
        raise InputError(f"{logs}: " + ("; ".join(reasons) or "its log files hold no lines"))
    return new


def matching_files(logs: Path, patterns: Sequence[str], since: Since | None = None) -> Logs:
    """The files below the folder that match one of the globs, without hidden ones and those older than `since`."""
    found = list_matching(tree_of(logs), patterns, since)
    paths = [logs.joinpath(*parts) for parts in found.files]
    if since is None:
        return Logs(paths)
    older = {"since": since.text, "folders_not_listed": found.folders, "files_left_out": found.older}
    return Logs(paths, {"older_logs": older})
