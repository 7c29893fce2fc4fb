"""Divides the publisher's hourly logs into parts that a benchmark ingests first and parts that it adds."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from schemas.errors import InputError


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A folder of logs, and its number of lines."""

    folder: Path
    lines: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """`added` has the last hours, `large` all logs before them, `small` the last hours of `large`."""

    large: Part
    small: Part
    added: Part


def cut_logs(sample: Path, work: Path, *, small: int, added: int) -> Parts:
    """Divide the logs of a sample by hours: at least `added` lines in the last part, `small` in the part before it.

    The file after the last day is left out: it holds late arrivals of several days, not those of one hour.
    """
    files = sorted((sample / "logs").glob("*.jsonl"))[:-1]
    lines = [count_lines(path) for path in files]
    cut = _first_of_last(lines, len(files), added)
    begin = _first_of_last(lines, cut, small)
    if begin == 0:
        raise InputError(f"{sample}: its {sum(lines)} lines are too few for parts of {small} and {added}")
    spans = {"large": (0, cut), "small": (begin, cut), "added": (cut, len(files))}
    return Parts(
        **{
            name: Part(folder=link_files(files[first:end], work / name), lines=sum(lines[first:end]))
            for name, (first, end) in spans.items()
        }
    )


def count_lines(path: Path) -> int:
    """The number of line feeds in the file."""
    with path.open("rb") as file:
        return sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 24), b""))


def link_files(files: Sequence[Path], folder: Path) -> Path:
    """Make a folder of logs with hard links to these files, without a copy of their bytes."""
    remove_folder(folder)
    (folder / "logs").mkdir(parents=True)
    for path in files:
        os.link(path, folder / "logs" / path.name)
    return folder


def remove_folder(folder: Path) -> None:
    """Remove the folder if it exists."""
    shutil.rmtree(folder, ignore_errors=True)


def copy_lake(lake: Path, copy: Path) -> Path:
    """Copy the tables to another folder; data files, which never change, are hard links."""
    remove_folder(copy)
    shutil.copytree(lake, copy, copy_function=_shared)
    return copy


def _shared(source: str, target: str) -> None:
    if source.endswith(".parquet") and "_delta_log" not in source:
        os.link(source, target)
    else:
        shutil.copy2(source, target)


def _first_of_last(lines: Sequence[int], end: int, wanted: int) -> int:
    """Index of the first of the last files before `end` that together have `wanted` lines."""
    begin = end
    while begin > 0 and sum(lines[begin:end]) < wanted:
        begin -= 1
    return begin
