"""Which files a folder of logs holds, in which format, and what of them is new; no Spark."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from pipelines.compressed import shown
from pipelines.ingest.discover.formats import FORMATS, PATTERNS, format_of
from pipelines.ingest.discover.inspect_file import Each, Inspection, in_turn, seen, seen_before, shown_name
from pipelines.ingest.discover.listing import Since, is_hidden, listed, tree_of
from pipelines.ingest.discover.log_file import LogFile
from pipelines.ingest.discover.previous_reads import Known
from pipelines.ingest.parse.mapping import LogMapping
from schemas.errors import InputError


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


class Logs(NamedTuple):
    """The files of a folder of logs, in order; and, where older ones are left out, what a summary tells of that."""

    paths: list[Path]
    left_out: Mapping[str, Any] = {}


def log_paths(logs: Path, format: str, mapping: LogMapping | None) -> list[Path]:
    """The files of the folder that are named as the format (or the mapping) says, one at least."""
    return logs_of(logs, format, mapping).paths


def logs_of(logs: Path, format: str, mapping: LogMapping | None, since: Since | None = None) -> Logs:
    """The files of the folder that are named as the format (or the mapping) says and are not older than `since`, one at
    least. InputError where there is none.
    """
    if format not in (*FORMATS, "auto"):
        raise InputError(f"unknown log format {format!r}: it is one of {', '.join(FORMATS)}, or auto")
    if not logs.exists():
        raise InputError(f"{logs}: no such folder. Make a sample with ./feedloop make_sample, or name a folder of logs")
    if logs.is_file():
        if is_hidden(logs.name):
            raise InputError(f"{logs}: a name that begins with . or _ is that of a file still being written. Rename it")
        if mapping is None and format not in ("auto", format_of(logs.name)):
            raise InputError(f"{logs}: a {format_of(logs.name)} file by its name, but the format asked for is {format}")
        if since is not None:
            raise InputError(f"{logs}: one file, and logs_since says where the newer ones of a folder begin: drop it")
        return Logs([logs])
    found = present(logs, format, mapping, since)
    if mapping is not None:  # **/*.parquet also finds folders that Spark wrote
        found = found._replace(paths=[path for path in found.paths if not path.is_dir()])
    if not found.paths:
        raise InputError(f"{logs}: {_none(since)}. Looked for {shown(_patterns(format, mapping))}")
    return found


def present(logs: Path, format: str, mapping: LogMapping | None, since: Since | None = None) -> Logs:
    """What the folder holds of that format, or by the mapping; of `auto`, InputError where it holds none or several."""
    if mapping is None and format == "auto":
        return _of_one_format(logs, since)
    return matching(logs, _patterns(format, mapping), since)


def _patterns(format: str, mapping: LogMapping | None) -> tuple[str, ...]:
    return PATTERNS[format] if mapping is None else (mapping.files,)


def _of_one_format(logs: Path, since: Since | None) -> Logs:
    """The logs of the one format that the folder holds logs of."""
    if since is not None:
        since.check([pattern for patterns in PATTERNS.values() for pattern in patterns])
    asked = [name for name in FORMATS if since is None or since.fits(PATTERNS[name])]
    found = {name: some for name in asked if (some := matching(logs, PATTERNS[name], since)).paths}
    if len(found) > 1:
        raise InputError(f"{logs}: holds logs of several formats, {' and '.join(found)}. Say which with --format")
    if not found:
        looked = " or ".join(f"{shown(PATTERNS[name])} ({name})" for name in FORMATS)
        raise InputError(f"{logs}: {_none(since)}. Looked for {looked}. For other logs give a --mapping")
    return next(iter(found.values()))


def _none(since: Since | None) -> str:
    return "no logs there" if since is None else f"no logs there from {since.text} on (--logs-since)"


def find_new(
    paths: Sequence[Path],
    logs: Path,
    mapping: LogMapping | None,
    known: Mapping[str, Known],
    *,
    final: bool = False,
    each: Each = in_turn,
) -> Found:
    """What the lake lacks of these files: unknown ones, and grown ones with the lines to skip. A file that is not known
    to be as it was is read to its end once, by `each`. `final`: last lines count, whatever they end with.

    A known name over other content is unreadable: skipping it would lose its lines without a word.
    """
    folder = logs.parent if logs.is_file() else logs
    found = Found(files=[])
    names = [str(path.relative_to(folder)) for path in paths]
    asked = [Inspection(path, name, known.get(name)) for path, name in zip(paths, names, strict=True)]
    told = [seen_before(ask, mapping=mapping, final=final) for ask in asked]
    open = [ask for ask, before in zip(asked, told, strict=True) if before is None]
    looks = iter(each(partial(seen, mapping=mapping, final=final), open, [ask.size for ask in open]))
    for name, before in zip(names, told, strict=True):
        file, reason, waits = next(looks) if before is None else before
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
    each: Each = in_turn,
) -> Found:
    """As `find_new`. InputError if there is not one file to be used, now or before."""
    new = find_new(paths, logs, mapping, known, final=final, each=each)
    if not new.files and not known:
        reasons = [f"{name}: {reason}" for name, reason in list(new.unreadable.items())[:3]]
        if new.unfinished:
            reasons.append(
                f"{new.unfinished[0]}: its only line has no line end and may be half of one. Wait for its writer, or "
                "give --final"
            )
        raise InputError(f"{logs}: " + ("; ".join(reasons) or "its log files hold no line at all"))
    return new


def matching(logs: Path, patterns: Sequence[str], since: Since | None = None) -> Logs:
    """The files below the folder that match one of the globs, but for hidden ones and those older than `since`."""
    found = listed(tree_of(logs), patterns, since)
    paths = [logs.joinpath(*parts) for parts in found.files]
    if since is None:
        return Logs(paths)
    told = {"since": since.text, "folders_not_listed": found.folders, "files_left_out": found.older}
    return Logs(paths, {"older_logs": told})
