"""JSON as our jobs write it: with NaN, and with a last line that a kill cut short."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobs.page.reading import json_file, json_lines
from schemas.errors import InputError


def test_what_is_no_number_becomes_none(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"auc": NaN, "deep": [Infinity, {"x": -Infinity, "y": 1.5}]}')
    assert json_file(tmp_path / "a.json") == {"auc": None, "deep": [None, {"x": None, "y": 1.5}]}


def test_a_line_that_was_cut_short_is_left_out_and_a_broken_one_named(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"step": 1}\n{"step": 2}\n{"st')
    assert json_lines(tmp_path / "a.jsonl") == [{"step": 1}, {"step": 2}]
    (tmp_path / "a.jsonl").write_text('{"step": 1}\n{"st\n{"step": 3}\n')
    with pytest.raises(InputError, match=r"a.jsonl, line 2: no JSON"):
        json_lines(tmp_path / "a.jsonl")
