"""A truncated last JSON line is left out; other damage is reported with file and position."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobs.page.reading import json_file, lines_file
from schemas.errors import InputError


def test_a_file_is_validated_and_errors_have_a_position(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"auc": null, "deep": [1, {"y": 1.5}]}')
    assert json_file(tmp_path / "a.json", dict[str, object]) == {"auc": None, "deep": [1, {"y": 1.5}]}
    with pytest.raises(InputError, match=r"a\.json, at \$\[\.\.\.\]: Expected `array`, got `null`\. Remove it"):
        json_file(tmp_path / "a.json", dict[str, list[object]])


def test_a_truncated_line_is_left_out_and_a_damaged_one_named(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"step": 1}\n{"step": 2}\n{"st')
    assert lines_file(tmp_path / "a.jsonl") == [{"step": 1}, {"step": 2}]
    (tmp_path / "a.jsonl").write_text('{"step": 1}\n{"st\n{"step": 3}\n')
    with pytest.raises(InputError, match=r"a.jsonl, line 2: no JSON"):
        lines_file(tmp_path / "a.jsonl")
