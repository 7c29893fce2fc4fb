from __future__ import annotations

import json
from pathlib import Path

import pytest

from jobs.cli.command_line import run
from jobs.inspect_batches import inspect_batches
from tests.packed import packed_directory


def test_a_directory_is_reported_drawn_and_left_as_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = packed_directory(tmp_path / "packed")
    before = {file: file.read_bytes() for file in path.rglob("*") if file.is_file()}
    assert run(inspect_batches, ["--data", str(path)]) == 0
    *screen, last = capsys.readouterr().out.splitlines()
    reported = json.loads(last)
    assert (reported["batches"], reported["trajectories"], reported["variants"]) == (12, 48, 1)
    assert "ratio_to_random" in "\n".join(screen)
    assert Path(reported["plot"]).read_bytes().startswith(b"\x89PNG")
    assert {file: file.read_bytes() for file in path.rglob("*") if file.is_file()} == before


def test_what_is_no_packed_directory_is_reported_and_draws_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(inspect_batches, ["--data", str(tmp_path)]) == 2
    assert "no manifest.json" in capsys.readouterr().err
    assert run(inspect_batches, ["--data", str(tmp_path), "--plot", str(tmp_path / "a.pdf")]) == 2
    assert "name a file that ends in .png" in capsys.readouterr().err
    path = packed_directory(tmp_path / "packed")
    (path / "batches" / "part-0.parquet").write_bytes(b"")
    assert run(inspect_batches, ["--data", str(path)]) == 2
    assert "part-0.parquet: 0 bytes, the manifest says" in capsys.readouterr().err
    assert not list(tmp_path.glob("*.png"))
