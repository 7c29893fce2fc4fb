from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from jobs.make_sample import make_sample
from jobs.synthetic import sample as module
from schemas.errors import InputError
from tests.conftest import REPOSITORY


def snapshot(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {str(p): (p.stat().st_mtime_ns, p.read_bytes()) for p in sorted(folder.rglob("*")) if p.is_file()}


def test_a_sample_is_complete_and_nothing_stands_next_to_it(tmp_path: Path) -> None:
    summary = make_sample(out=tmp_path / "deep/sample", size="tiny", seed=3)
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["sample"]
    found = sorted(path.name for path in (tmp_path / "deep/sample").iterdir())
    assert found == ["README.txt", "logs", "news.jsonl", "truth"]
    assert summary["written"] is True
    assert summary["lines"] == summary["impressions"] + summary["merged"] + summary["rejected"]
    json.dumps(summary)


def test_running_again_changes_nothing(tmp_path: Path) -> None:
    first = make_sample(out=tmp_path / "sample", size="tiny", seed=3)
    before = snapshot(tmp_path)
    again = make_sample(out=tmp_path / "sample", size="tiny", seed=3)
    assert snapshot(tmp_path) == before
    assert again == {**first, "written": False}


def test_an_empty_folder_is_filled(tmp_path: Path) -> None:
    (tmp_path / "sample").mkdir()
    assert make_sample(out=tmp_path / "sample", size="tiny")["written"] is True


@pytest.mark.parametrize(("size", "seed"), [("tiny", 4), ("demo", 3)])
def test_another_sample_is_not_overwritten(tmp_path: Path, size: Any, seed: int) -> None:
    make_sample(out=tmp_path / "sample", size="tiny", seed=3)
    before = snapshot(tmp_path)
    with pytest.raises(InputError, match="Name another folder with --out"):
        make_sample(out=tmp_path / "sample", size=size, seed=seed)
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize("name", ["notes.txt", "truth/counts.json"])
def test_a_folder_or_file_of_someone_else_is_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / "sample" / name
    path.parent.mkdir(parents=True)
    path.write_text("mine")
    for out in (tmp_path / "sample", path):
        with pytest.raises(InputError, match="holds something else"):
            make_sample(out=out, size="tiny")
    assert path.read_text() == "mine"


def test_a_sample_has_about_as_many_impressions_as_asked_for(tmp_path: Path) -> None:
    summary = make_sample(out=tmp_path / "sample", size="tiny", impressions=2_000, logs_only=True)
    assert summary["impressions"] == pytest.approx(2_000, rel=0.1)
    assert summary["users"] == 500
    assert not (tmp_path / "sample/news.jsonl").exists()
    with pytest.raises(InputError, match="Name another folder"):
        make_sample(out=tmp_path / "sample", size="tiny", impressions=2_000)


def test_a_sample_of_very_few_impressions_is_complete_too(tmp_path: Path) -> None:
    summary = make_sample(out=tmp_path / "sample", size="tiny", impressions=5)
    assert summary["lines"] == summary["impressions"] + summary["merged"] + summary["rejected"]


def test_a_run_that_dies_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def dies(folder: Path, *args: Any, **options: Any) -> None:
        (folder / "news.jsonl").write_text("half")
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "write_sample", dies)
    with pytest.raises(KeyboardInterrupt):
        make_sample(out=tmp_path / "sample", size="tiny")
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_to_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"file.*Name another folder"):
        make_sample(out=tmp_path / "file/sample", size="tiny")


def test_impossible_options_are_named() -> None:
    huge: Any = "huge"
    with pytest.raises(InputError, match=r"'huge'.*demo.*tiny"):
        make_sample(out=Path("never"), size=huge)
    with pytest.raises(InputError, match="seed is -1"):
        make_sample(out=Path("never"), seed=-1)
    with pytest.raises(InputError, match="impressions is 0"):
        make_sample(out=Path("never"), impressions=0)


def test_the_command_line_prints_one_line_of_json(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "jobs.make_sample", "--out", str(tmp_path / "sample"), "--size", "tiny"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["size"] == "tiny"
