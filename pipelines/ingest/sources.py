"""Which files a folder of logs holds, in which format, and what of them is new; no Spark."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from pipelines.ingest.formats import FORMATS, PATTERNS, format_of
from pipelines.ingest.known import Known
from pipelines.ingest.log_file import LogFile
from pipelines.ingest.looking import Asked, Each, in_turn, seen, seen_before, shown_name
from pipelines.ingest.mapping import LogMapping
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
    asked = [Asked(path, name, known.get(name)) for path, name in zip(paths, names, strict=True)]
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


def matching(logs: Path, patterns: Iterable[str]) -> list[Path]:
    """The files below the folder that match one of the globs, but for hidden ones."""
    paths = {path for pattern in patterns for path in logs.glob(pattern)}
    return sorted(path for path in paths if not any(is_hidden(part) for part in path.relative_to(logs).parts))


def is_hidden(name: str) -> bool:
    """Whether this is how collectors and Hadoop name what is still being written; no job reads such a file."""
    return name[0] in "._" or name.endswith("._COPYING_")
