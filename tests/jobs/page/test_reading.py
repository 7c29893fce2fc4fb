"""JSON lines whose last one a kill cut short; damage is named by file and place."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobs.page.reading import json_file, lines_file
from schemas.errors import InputError


def test_a_file_is_taken_for_its_kind_or_refused_by_place(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"auc": null, "deep": [1, {"y": 1.5}]}')
    assert json_file(tmp_path / "a.json", dict[str, object]) == {"auc": None, "deep": [1, {"y": 1.5}]}
    with pytest.raises(InputError, match=r"a\.json, at \$\[\.\.\.\]: Expected `array`, got `null`\. Remove it"):
        json_file(tmp_path / "a.json", dict[str, list[object]])


def test_a_line_that_was_cut_short_is_left_out_and_a_broken_one_named(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"step": 1}\n{"step": 2}\n{"st')
    assert lines_file(tmp_path / "a.jsonl") == [{"step": 1}, {"step": 2}]
    (tmp_path / "a.jsonl").write_text('{"step": 1}\n{"st\n{"step": 3}\n')
    with pytest.raises(InputError, match=r"a.jsonl, line 2: no JSON"):
        lines_file(tmp_path / "a.jsonl")
