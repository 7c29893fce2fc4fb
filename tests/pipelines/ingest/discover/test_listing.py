from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path

import fsspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.ingest.config import IngestConfig
from pipelines.ingest.discover.find import discover
from pipelines.ingest.discover.listing import Kind, Listed, LocalTree, Parts, Since, is_hidden, list_matching
from pipelines.ingest.discover.sources import Logs, matching_files, require_logs
from pipelines.ingest.parse.mapping import LogMapping
from pipelines.ingest.stream import GrowingFolder
from schemas.errors import InputError
from tests.builders import json_line, write_logs

NAMES = ("a", "b", "ab", "dt=1", "_c", ".d", "[x]")
PATTERNS = ("a", "*", "**", "a*", "?", "[ab]", "dt=*", "*.jsonl", "[[]x]", "ab.jsonl")


class Recorded(LocalTree):
    """A folder of this machine that remembers what was asked of it."""

    __slots__ = ("asked",)

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        object.__setattr__(self, "asked", [])

    def names(self, parts: Parts) -> Iterable[tuple[str, Kind]]:  # type: ignore[override]
        self.asked.append("/".join(parts))
        return super().names(parts)


class Remote:
    """A folder of a file system of fsspec."""

    def __init__(self, url: str) -> None:
        self.files, self.root = fsspec.core.url_to_fs(url)

    def names(self, parts: Parts) -> Iterable[tuple[str, Kind]]:
        for each in self.files.ls("/".join((self.root, *parts)), detail=True):
            yield each["name"].rpartition("/")[2], "folder" if each["type"] == "directory" else "file"

    def kind(self, parts: Parts) -> Kind | None:
        path = "/".join((self.root, *parts))
        return "folder" if self.files.isdir(path) else "file" if self.files.exists(path) else None


def made(folder: Path, paths: Iterable[str]) -> Path:
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).touch()
    return folder


PATHS = st.lists(st.lists(st.sampled_from(NAMES), min_size=1, max_size=4), max_size=12)


@settings(max_examples=100)
@given(PATHS, st.lists(st.lists(st.sampled_from(PATTERNS), min_size=1, max_size=4), min_size=1, max_size=3))
def test_globs_find_what_those_of_pathlib_do_in_the_same_order(paths: list[list[str]], globs: list[list[str]]) -> None:
    patterns = ["/".join(glob) for glob in globs if glob[-1] != "**"] or ["*"]
    with tempfile.TemporaryDirectory() as scratch:
        folder = made(Path(scratch), {f"{'/'.join(path)}.jsonl" for path in paths})
        (folder / "a").mkdir(exist_ok=True)
        (folder / "a" / "link").symlink_to(folder)
        (folder / "b.jsonl").unlink(missing_ok=True)
        (folder / "b.jsonl").symlink_to(folder / "nowhere")
        slow = {path for pattern in patterns for path in folder.glob(pattern)}
        slow = {path for path in slow if not any(is_hidden(part) for part in path.relative_to(folder).parts)}
        assert matching_files(folder, patterns) == Logs(sorted(slow))


DAYS = [f"{month:02}/{day:02}/{hour}.jsonl" for month in (9, 10, 11) for day in (1, 2, 27) for hour in "ab"]


@pytest.mark.parametrize("since", ["11/02", "11/02/", "11/02/a.jsonl", "11/02/b", "11", "09/01/a.jsonl", "10/01/c"])
@pytest.mark.parametrize("pattern", ["*/*/*.jsonl", "**/*.jsonl"])
def test_what_sorts_before_is_left_out_and_its_folders_are_not_listed(tmp_path: Path, since: str, pattern: str) -> None:
    tree, start = Recorded(made(tmp_path, DAYS)), tuple(since.rstrip("/").split("/"))
    found, paths = list_matching(tree, [pattern], Since(since)), sorted(tuple(path.split("/")) for path in DAYS)
    assert found.files == [parts for parts in paths if parts >= start]
    assert found.older == sum(parts < start for parts in paths if parts[:2] == start[:2])
    assert sorted(tree.asked) == sorted({"/".join(p[:n]) for p in paths for n in range(3) if p[:n] >= start[:n]})
    older = {parts[:n] for parts in paths for n in (1, 2) if parts[:n] < start[:n] and parts[: n - 1] >= start[: n - 1]}
    assert found.folders == len(older)


def test_without_it_each_folder_is_listed_once_and_no_other_one(tmp_path: Path) -> None:
    tree = Recorded(made(tmp_path, [*DAYS, "other/x/a.jsonl", "11/_tmp/c.jsonl", "11/02/x/y.jsonl"]))
    assert len(list_matching(tree, ["[01]*/*/*.jsonl", "[01]*/*/*.jsonl.gz", "11/02/b.jsonl"]).files) == len(DAYS)
    assert sorted(tree.asked) == sorted(["", *{p[:2] for p in DAYS}, *{p[:5] for p in DAYS}])
    tree.asked.clear()
    assert list_matching(tree, ["11/02/b.jsonl", "11/03/b.jsonl", "12/*"]).files == [("11", "02", "b.jsonl")]
    assert tree.asked == []


@pytest.mark.parametrize("pattern", ["*.jsonl", "a.jsonl"])
@pytest.mark.parametrize("to", ["a.jsonl", "nowhere"])
def test_a_link_that_leads_nowhere_is_found_for_reading_it_reports_why(tmp_path: Path, pattern: str, to: str) -> None:
    (tmp_path / "a.jsonl").symlink_to(tmp_path / to)
    assert list_matching(LocalTree(tmp_path), [pattern]).files == [("a.jsonl",)]


def test_any_file_system_can_be_listed() -> None:
    tree = Remote("memory://logs-of-a-test/below")
    for path in DAYS:
        tree.files.pipe_file(f"{tree.root}/{path}", b"")
    try:
        found = list_matching(tree, ["*/*/*.jsonl"], Since("10/02/b"))
        files = [tuple(path.split("/")) for path in sorted(DAYS) if path >= "10/02/b"]
        assert found == Listed(files, folders=2, older=1)
    finally:
        tree.files.rm("/logs-of-a-test", recursive=True)


@pytest.mark.parametrize(
    ("names", "since", "other"),
    [
        (["2026/9/1", "2026/10/1"], "2026/9", "2026/10"),
        (["2026/9/1", "2026/10/1"], "2026/10", "2026/9"),
        (["dt=2026-9-30", "dt=2026-10-01"], "dt=2026-10-01", "dt=2026-9-30"),
        (["part-9.jsonl", "part-10.jsonl"], "part-10.jsonl", "part-9.jsonl"),
    ],
)
def test_numbers_that_do_not_sort_by_date_are_refused(tmp_path: Path, names: list[str], since: str, other: str) -> None:
    tree = LocalTree(made(tmp_path, names))
    with pytest.raises(InputError, match=rf"there is {other}: numbers of \d and of \d digits do not sort by date"):
        list_matching(tree, ["**/*"], Since(since))


def test_names_that_begin_alike_and_go_on_with_other_numbers_are_compared(tmp_path: Path) -> None:
    names = ["dt=2026-11-26", "dt=2026-11-27", "dt=2026-12-1x", "archive9", "x1", "dt=2025-1-1"]
    found = list_matching(LocalTree(made(tmp_path, names)), ["*"], Since("dt=2026-11-27"))
    assert (found.files, found.older) == ([("dt=2026-11-27",), ("dt=2026-12-1x",), ("x1",)], 3)


@pytest.mark.parametrize("text", ["", "/", "a//b", "/2026", "..", "a/../b", "./a"])
def test_what_is_no_path_below_the_logs_is_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"logs_since is .*: write a path below --logs, such as logs/2026-11-27"):
        IngestConfig(logs_since=text)


def test_a_replay_reads_no_new_logs(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--replay reads none"):
        IngestConfig(logs_since="a", replay=True)


@pytest.mark.parametrize(
    ("files", "since", "fits"),
    [
        ("logs/*.jsonl", "logs/2026-11-27", True),
        ("logs/*.jsonl", "2026-11-27", False),
        ("logs/*.jsonl", "log", False),
        ("logs/*.jsonl", "logs/a/b", False),
        ("events/day-*/*.json", "events/day-2026", True),
        ("events/day-*/*.json", "events/d", True),
        ("events/day-*/*.json", "events/2026", False),
        ("events/**/*.json", "events/2026/11/27/10", True),
        ("dt=*/*.json", "dt=2026-11-27/10.json", True),
        ("dt=*/*.json", "2026-11-27/10.json", False),
    ],
)
def test_a_place_where_no_log_can_lie_is_refused(files: str, since: str, fits: bool) -> None:
    assert Since(since).fits([files]) == fits
    if not fits:
        with pytest.raises(InputError, match="and logs are named"):
            Since(since).check([files])


def test_the_run_says_what_it_left_out(tmp_path: Path) -> None:
    days = {f"2026-11-{day}.jsonl": [json_line(str(day))] for day in (25, 26, 27, 28)}
    folder = write_logs(tmp_path, days)
    older_logs = {"older_logs": {"since": "logs/2026-11-27", "folders_not_listed": 0, "files_left_out": 2}}
    since = Since("logs/2026-11-27")
    for format in ("auto", "jsonl"):
        found = require_logs(folder, format, None, since)
        assert ([path.name[8:10] for path in found.paths], found.left_out) == (["27", "28"], older_logs)
        assert GrowingFolder(folder, format, None, since=since).files() == found
        assert discover(str(folder), format, None, since=since).left_out == older_logs
    assert discover(str(folder), "auto", None).left_out == {}
    with pytest.raises(InputError, match=r"no logs there from logs/2027 on \(--logs-since\)"):
        require_logs(folder, "auto", None, Since("logs/2027"))
    with pytest.raises(InputError, match="one file, and logs_since"):
        require_logs(folder / "logs" / "2026-11-27.jsonl", "auto", None, since)
    with pytest.raises(InputError, match="and logs are named"):
        require_logs(folder, "auto", None, Since("x/y/z"))


@pytest.mark.parametrize("files", ["", "/data/*.json", "a**/*.json", "."])
def test_a_glob_that_is_none_is_refused(tmp_path: Path, files: str) -> None:
    with pytest.raises(InputError, match=r"files is .*write a glob below --logs"):
        require_logs(tmp_path, "auto", LogMapping(files=files))
