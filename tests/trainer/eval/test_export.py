"""The folder of an export: old or new, and whole; what is no export is never replaced."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from schemas.errors import InputError
from trainer.eval.export import RECORD, Export, Record, earlier_export, export_folder, write_record

TOLD = Record(
    source="s",
    checkpoint="run/step-1",
    checkpoint_sha256="aa",
    step=1,
    data="",
    tables={},
    embeddings="embeddings",
    news=0,
    vectors=0,
    vector_width=4,
    index={},
    history_clicks=4,
    user={},
    made_at="",
)


def make(out: Path, name: str) -> None:
    with export_folder(out) as folder:
        (folder / name).touch()
        write_record(folder, TOLD)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_folder_is_replaced_whole(tmp_path: Path) -> None:
    make(tmp_path / "out", "a")
    make(tmp_path / "out", "b")
    assert names(tmp_path) == ["out"]
    assert names(tmp_path / "out") == ["b", RECORD]


def test_the_vectors_of_an_earlier_export_come_along(tmp_path: Path) -> None:
    make(tmp_path / "out", "a")
    (tmp_path / "out" / "embeddings").mkdir()
    (tmp_path / "out" / "embeddings" / "part").write_text("vectors")
    make(tmp_path / "out", "b")
    assert (tmp_path / "out" / "embeddings" / "part").read_text() == "vectors"


def test_what_fails_halfway_leaves_the_old_and_is_swept_up_by_the_next(tmp_path: Path) -> None:
    make(tmp_path / "out", "a")
    with pytest.raises(OSError, match="full"), export_folder(tmp_path / "out"):
        raise OSError("full")
    assert names(tmp_path / "out") == ["a", RECORD]
    make(tmp_path / "out", "b")
    assert names(tmp_path) == ["out"]


def test_an_export_killed_between_its_two_renames_is_put_back(tmp_path: Path) -> None:
    make(tmp_path / "out", "a")
    (tmp_path / "out").rename(tmp_path / ".out.replaced")
    assert earlier_export(tmp_path / "out") == TOLD
    assert names(tmp_path) == ["out"]


def test_a_folder_of_something_else_is_never_replaced(tmp_path: Path) -> None:
    assert earlier_export(tmp_path / "new") is None
    (tmp_path / "mine").mkdir()
    assert earlier_export(tmp_path / "mine") is None  # empty
    (tmp_path / "mine" / "thesis.tex").touch()
    with pytest.raises(InputError, match=r"something that is no export. Name another --out"):
        earlier_export(tmp_path / "mine")


def test_what_cannot_be_opened_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no export\.json, so this is no export\. Make one with"):
        Export.open(tmp_path)
    make(tmp_path / "out", "a")
    with pytest.raises(InputError, match="the export is damaged"):
        Export.open(tmp_path / "out")
    file = tmp_path / "out" / RECORD
    file.write_text(json.dumps(json.loads(file.read_text()) | {"format_version": 99}))
    with pytest.raises(InputError, match=r"format version 99, this code reads 1\. Remove .* and export again"):
        Export.open(tmp_path / "out")
    file.write_text("{")
    with pytest.raises(InputError, match=r"no JSON .* and export again"):
        Export.open(tmp_path / "out")
