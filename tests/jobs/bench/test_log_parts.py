from __future__ import annotations

import os
from pathlib import Path

import pytest

from jobs.bench.log_parts import copy_lake, count_lines, cut_logs, link_files
from schemas.errors import InputError


def sample(folder: Path, *lines: int) -> Path:
    """A folder with a log file per number, of that many lines."""
    (folder / "logs").mkdir(parents=True)
    for hour, count in enumerate(lines):
        (folder / f"logs/2026-03-02T{hour:02d}.jsonl").write_bytes(b"{}\n" * count)
    return folder


def test_the_last_hours_are_the_added_part_and_late_arrivals_are_left_out(tmp_path: Path) -> None:
    parts = cut_logs(sample(tmp_path / "sample", 5, 5, 3, 3, 2, 2, 9), tmp_path / "parts", small=4, added=3)
    assert (parts.large.lines, parts.small.lines, parts.added.lines) == (16, 6, 4)
    hours = {
        name: [path.stem[-2:] for path in sorted((tmp_path / "parts" / name / "logs").iterdir())]
        for name in ("large", "small", "added")
    }
    assert hours == {"large": ["00", "01", "02", "03"], "small": ["02", "03"], "added": ["04", "05"]}


def test_too_few_lines_are_rejected(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"4 lines are too few for parts of 3 and 3"):
        cut_logs(sample(tmp_path / "sample", 2, 2, 9), tmp_path / "parts", small=3, added=3)


def test_a_linked_folder_uses_no_space_and_has_only_the_new_files(tmp_path: Path) -> None:
    files = sorted((sample(tmp_path / "sample", 1, 2) / "logs").iterdir())
    link_files(files[:1], tmp_path / "some")
    (again,) = (link_files(files[1:], tmp_path / "some") / "logs").iterdir()
    assert again.stat().st_ino == files[1].stat().st_ino
    assert count_lines(again) == 2


def test_a_copied_lake_shares_only_files_that_never_change(tmp_path: Path) -> None:
    table = tmp_path / "lake/impressions"
    (table / "_delta_log").mkdir(parents=True)
    for name in ("part-0.parquet", "_delta_log/0.json", "_delta_log/1.checkpoint.parquet", "_delta_log/_last"):
        (table / name).write_text("old")
    copy = copy_lake(tmp_path / "lake", tmp_path / "copy") / "impressions"
    assert os.path.samefile(table / "part-0.parquet", copy / "part-0.parquet")
    (copy / "_delta_log/_last").write_text("new")
    assert (table / "_delta_log/_last").read_text() == "old"
    assert not os.path.samefile(table / "_delta_log/1.checkpoint.parquet", copy / "_delta_log/1.checkpoint.parquet")
