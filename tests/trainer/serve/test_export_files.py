"""The folder of an export is complete, old or new; other folders are never replaced."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from schemas.errors import InputError
from tests.conftest import REPOSITORY
from trainer.serve import export_folder as export_folder_module
from trainer.serve.export_files import RECORD, Record, earlier_export, write_record
from trainer.serve.export_folder import current_folder, export_folder, export_lock
from trainer.serve.opened_export import Export

RECORDED = Record(
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
    files={},
)


def make(out: Path, name: str) -> None:
    with export_folder(out, needed=0) as folder:
        (folder / name).touch()
        write_record(folder, RECORDED)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_folder_is_replaced_as_one_piece(tmp_path: Path) -> None:
    make(tmp_path / "out", "a")
    make(tmp_path / "out", "b")
    assert names(tmp_path) == ["out"]
    assert names(tmp_path / "out") == ["b", RECORD]


def test_the_vectors_of_an_earlier_export_are_kept(tmp_path: Path) -> None:
    make(tmp_path / "out", "a")
    (tmp_path / "out" / "embeddings").mkdir()
    (tmp_path / "out" / "embeddings" / "part").write_text("vectors")
    make(tmp_path / "out", "b")
    assert (tmp_path / "out" / "embeddings" / "part").read_text() == "vectors"


def test_an_export_that_fails_leaves_the_old_one_and_is_removed_by_the_next(tmp_path: Path) -> None:
    make(tmp_path / "out", "a")
    with pytest.raises(OSError, match="full"), export_folder(tmp_path / "out", needed=0):
        raise OSError("full")
    assert names(tmp_path / "out") == ["a", RECORD]
    make(tmp_path / "out", "b")
    assert names(tmp_path) == ["out"]


def test_an_export_killed_between_its_two_renames_is_restored(tmp_path: Path) -> None:
    make(tmp_path / "out", "a")
    (tmp_path / "out").rename(tmp_path / ".out.replaced")
    assert earlier_export(tmp_path / "out") == RECORDED
    assert names(tmp_path) == ["out"]


def test_a_folder_of_something_else_is_never_replaced(tmp_path: Path) -> None:
    assert earlier_export(tmp_path / "new") is None
    (tmp_path / "mine").mkdir()
    assert earlier_export(tmp_path / "mine") is None  # empty
    (tmp_path / "mine" / "thesis.tex").touch()
    with pytest.raises(InputError, match=r"exists and is no export. Name another --out"):
        earlier_export(tmp_path / "mine")


def test_a_system_without_the_exchange_renames_twice_and_readers_find_the_folder_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    make(out, "a")
    monkeypatch.setattr(export_folder_module, "_exchanged", lambda one, other: False)
    seen = []
    rename = Path.rename

    def watched(self: Path, target: Path) -> Path:
        found = rename(self, target)
        seen.append(names(current_folder(out)))
        return found

    monkeypatch.setattr(Path, "rename", watched)
    make(out, "b")
    assert seen == [["a", RECORD], ["b", RECORD]]
    assert names(tmp_path) == ["out"]


def test_there_is_no_moment_without_an_export(tmp_path: Path) -> None:
    out = tmp_path / "out"
    make(out, "a")
    missed, stop = [], threading.Event()

    def look() -> None:
        while not stop.is_set():
            if not (out / RECORD).exists():
                missed.append(True)

    with ThreadPoolExecutor(1) as pool:
        looking = pool.submit(look)
        for number in range(100):
            make(out, f"b{number}")
        stop.set()
        looking.result()
    assert not missed
    assert names(out) == ["b99", RECORD]


def test_a_second_export_into_one_folder_leaves_and_its_lock_ends_with_its_process(tmp_path: Path) -> None:
    out = tmp_path / "out"
    program = f"""
import sys, time
from pathlib import Path
from trainer.serve.export_folder import export_lock
with export_lock(Path({str(out)!r})):
    print("in", flush=True)
    time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, cwd=REPOSITORY) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "in\n"
        with pytest.raises(InputError, match=r"another export writes this folder\. Run this again"), export_lock(out):
            pass
        other.kill()
        other.wait()
    with export_lock(out):
        make(out, "a")
    assert names(out) == ["a", RECORD]


def test_a_folder_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no export\.json, so this is no export\. Make one with"):
        Export.open(tmp_path)
    make(tmp_path / "out", "a")
    with pytest.raises(InputError, match=r"lists no news\.parquet\. Remove .* and export again"):
        Export.open(tmp_path / "out")
    file = tmp_path / "out" / RECORD
    file.write_text(json.dumps(json.loads(file.read_text()) | {"format_version": 99}))
    with pytest.raises(InputError, match=r"format version 99, this code reads 2\. Remove .* and export again"):
        Export.open(tmp_path / "out")
    file.write_text("{")
    with pytest.raises(InputError, match=r"no JSON .* and export again"):
        Export.open(tmp_path / "out")
