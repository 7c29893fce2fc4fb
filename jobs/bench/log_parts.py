"""The publisher's hourly logs cut into what a benchmark ingests first, and what it adds to that."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from schemas.errors import InputError


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A folder of logs with so many lines."""

    folder: Path
    lines: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """`added` is what came after both: `large` is all logs before it, `small` the last hours of those."""

    large: Part
    small: Part
    added: Part


def cut_logs(sample: Path, work: Path, *, small: int, added: int) -> Parts:
    """The logs of a sample by hours: at least `added` lines of the last ones, `small` of those before them.

    The file after the last day is left out: it holds what arrived in the days after, and no hour of its own.
    """
    files = sorted((sample / "logs").glob("*.jsonl"))[:-1]
    lines = [count_lines(path) for path in files]
    cut = _reach(lines, len(files), added)
    begin = _reach(lines, cut, small)
    if begin == 0:
        raise InputError(f"{sample}: its {sum(lines)} lines are too few for parts of {small} and {added}")
    spans = {"large": (0, cut), "small": (begin, cut), "added": (cut, len(files))}
    return Parts(
        **{
            name: Part(folder=linked(files[first:end], work / name), lines=sum(lines[first:end]))
            for name, (first, end) in spans.items()
        }
    )


def count_lines(path: Path) -> int:
    """Line feeds in the file."""
    with path.open("rb") as file:
        return sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 24), b""))


def linked(files: Sequence[Path], folder: Path) -> Path:
    """A folder of logs that holds these files, without another copy of their bytes."""
    removed(folder)
    (folder / "logs").mkdir(parents=True)
    for path in files:
        os.link(path, folder / "logs" / path.name)
    return folder


def removed(folder: Path) -> None:
    """Nothing is left below that name."""
    shutil.rmtree(folder, ignore_errors=True)


def copied_lake(lake: Path, copy: Path) -> Path:
    """The same tables in another place: data files, which never change, are shared."""
    removed(copy)
    shutil.copytree(lake, copy, copy_function=_shared)
    return copy


def _shared(source: str, target: str) -> None:
    if source.endswith(".parquet") and "_delta_log" not in source:
        os.link(source, target)
    else:
        shutil.copy2(source, target)


def _reach(lines: Sequence[int], end: int, wanted: int) -> int:
    """Where the last of `lines` before `end` begin that are `wanted` together."""
    begin = end
    while begin > 0 and sum(lines[begin:end]) < wanted:
        begin -= 1
    return begin
