"""Checkpoints: complete or absent, and nothing in them can run."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import random
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from trainer.checkpoint.files import STATE_FILE, Checkpoint, ResumeError, load_checkpoint, save_checkpoint
from trainer.ranks.process_group import Ranks


def saved(path: Path) -> Path:
    save_checkpoint(Checkpoint(tensors={"model": {"a": torch.arange(3.0)}}, state={"position": {"step": 3}}), path)
    return path


def test_a_checkpoint_comes_back(tmp_path: Path) -> None:
    loaded = load_checkpoint(saved(tmp_path / "c"))
    assert torch.equal(loaded.tensors["model"]["a"], torch.arange(3.0))
    assert loaded.state["position"] == {"step": 3}
    assert [path.name for path in tmp_path.iterdir()] == ["c"]


def test_a_file_cut_short_anywhere_is_refused_by_name(tmp_path: Path) -> None:
    rng = random.Random(1)
    for file in sorted(saved(tmp_path / "c").iterdir()):
        original = file.read_bytes()
        full = len(original.rstrip())  # the last newline carries no content
        for length in {0, 1, 7, 8, 9, full - 1, *(rng.randrange(full) for _ in range(30))}:
            file.write_bytes(original[:length])
            with pytest.raises(ResumeError, match=r"c: the checkpoint is damaged"):
                load_checkpoint(tmp_path / "c")
        file.write_bytes(original)
        load_checkpoint(tmp_path / "c")
        file.unlink()
        with pytest.raises(ResumeError, match=r"/c: (the checkpoint is damaged|no state\.json)"):
            load_checkpoint(tmp_path / "c")
        file.write_bytes(original)


def test_with_any_byte_changed_it_is_refused_by_name_or_the_same(tmp_path: Path) -> None:
    rng, refused = random.Random(2), 0
    files = sorted(saved(tmp_path / "c").iterdir())
    for _ in range(400):
        file = rng.choice(files)
        original = file.read_bytes()
        place = rng.randrange(len(original))
        file.write_bytes(original[:place] + bytes([original[place] ^ rng.randrange(1, 256)]) + original[place + 1 :])
        said = str(tmp_path / "c")
        try:
            loaded = load_checkpoint(tmp_path / "c")
        except ResumeError as error:
            refused += 1
            said = str(error)
        else:  # one space became another
            assert torch.equal(loaded.tensors["model"]["a"], torch.arange(3.0))
            assert loaded.state["position"] == {"step": 3}
        assert str(tmp_path / "c") in said
        file.write_bytes(original)
    assert refused > 350


class Bomb:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[object, ...]:
        return (os.mkdir, (str(self.folder),))


def test_a_pickle_is_never_run(tmp_path: Path) -> None:
    bomb = pickle.dumps(Bomb(tmp_path / "ran"))
    torch.save({"a": Bomb(tmp_path / "ran")}, tmp_path / "bomb.pt")
    for content in (bomb, (tmp_path / "bomb.pt").read_bytes()):
        for name in (STATE_FILE, "model.safetensors"):
            sealed(saved(tmp_path / "c"), {name: content})
            with pytest.raises(ResumeError, match="the checkpoint is damaged"):
                load_checkpoint(tmp_path / "c")
    assert not (tmp_path / "ran").exists()
    pickle.loads(bomb)  # the control
    assert (tmp_path / "ran").exists()


def sealed(folder: Path, files: Mapping[str, bytes] = {}, **changes: Any) -> Path:
    """The checkpoint with other state and files, and valid checksums: what an attacker would write."""
    for name, content in files.items():
        (folder / name).write_bytes(content)
    if STATE_FILE not in files:
        state = json.loads((folder / STATE_FILE).read_text()) | changes
        del state["state_sha256"]
        state["sha256"] |= {
            path.stem: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.glob("*.safetensors")
        }
        state["state_sha256"] = hashlib.sha256(json.dumps(state, sort_keys=True).encode()).hexdigest()
        (folder / STATE_FILE).write_text(json.dumps(state))
    return folder


@pytest.mark.parametrize(
    "parts",
    [["../x"], ["../../x"], ["/etc/passwd"], ["model/../model"], ["."], ["model", ["a"]], "model", 7, None, {"a": 1}],
    ids=repr,
)
def test_parts_are_files_of_the_folder(tmp_path: Path, parts: Any) -> None:
    folder = saved(tmp_path / "a" / "c")
    for outside in (tmp_path / "a" / "x.safetensors", tmp_path / "x.safetensors"):
        shutil.copy(folder / "model.safetensors", outside)
    sums = {str(part): hashlib.sha256(outside.read_bytes()).hexdigest() for part in parts or []} if parts != 7 else {}
    with pytest.raises(ResumeError, match=r"c: the checkpoint is damaged"):
        load_checkpoint(sealed(folder, parts=parts, sha256=sums))


def test_links_and_pipes_are_not_followed(tmp_path: Path) -> None:
    elsewhere = saved(tmp_path / "elsewhere")
    for name, message in (("model.safetensors", "no plain file"), (STATE_FILE, "no state.json")):
        linked = saved(tmp_path / "c") / name
        linked.unlink()
        linked.symlink_to(elsewhere / name)
        with pytest.raises(ResumeError, match=message):
            load_checkpoint(tmp_path / "c")
        linked.unlink()
        os.mkfifo(linked)
        with pytest.raises(ResumeError, match=message):
            load_checkpoint(tmp_path / "c")
        linked.unlink()


HEADER = json.dumps({"a": {"dtype": "F32", "shape": [1 << 40, 1 << 20], "data_offsets": [0, 4]}}).encode()


@pytest.mark.parametrize(
    "files",
    [
        {STATE_FILE: b"[" * 200_000},
        {STATE_FILE: b'{"format_version": ' + b"9" * 5000 + b"}"},
        {STATE_FILE: b"\xff\xfe{}"},
        {STATE_FILE: b"[]"},
        {STATE_FILE: b'"format_version"'},
        {STATE_FILE: b" " * ((1 << 26) + 1)},
        {"model.safetensors": (1 << 62).to_bytes(8, "little") + b"{}"},
        {"model.safetensors": len(HEADER).to_bytes(8, "little") + HEADER + bytes(4)},
    ],
    ids=["nested", "number", "bytes", "list", "text", "long", "header", "shape"],
)
def test_absurd_contents_are_refused_by_name(tmp_path: Path, files: dict[str, bytes]) -> None:
    with pytest.raises(ResumeError, match=r"c: the checkpoint is damaged|state\.json: \d+ bytes") as refused:
        load_checkpoint(sealed(saved(tmp_path / "c"), files))
    assert len(str(refused.value)) < len(str(tmp_path)) + 500


def test_a_checkpoint_of_the_version_without_sums_is_read(tmp_path: Path) -> None:
    file = saved(tmp_path / "c") / STATE_FILE
    state = {name: value for name, value in json.loads(file.read_text()).items() if "sha256" not in name}
    file.write_text(json.dumps(state | {"format_version": 3}))
    assert torch.equal(load_checkpoint(tmp_path / "c").tensors["model"]["a"], torch.arange(3.0))
    file.write_text(json.dumps(state | {"format_version": 2}))
    with pytest.raises(ResumeError, match=r"format version 2, this code reads 5\. Train again"):
        load_checkpoint(tmp_path / "c")


@pytest.mark.parametrize("world", [1, 2, 3, 7])
def test_each_part_is_checked_by_one_rank_and_looked_for_by_all(tmp_path: Path, world: int) -> None:
    parts = {name: {"a": torch.arange(3.0)} for name in ("model", "table-0", "table-1", "random-0")}
    save_checkpoint(Checkpoint(tensors=parts, state={"ranks": 2}), tmp_path / "c")
    for file in sorted((tmp_path / "c").glob("*.safetensors")):
        original = file.read_bytes()
        file.write_bytes(original[:-1] + b"\x01")
        assert sum(refuses(tmp_path / "c", Ranks(rank, world)) for rank in range(world)) == 1
        file.unlink()
        assert all(refuses(tmp_path / "c", Ranks(rank, world)) for rank in range(world))
        file.write_bytes(original)


def refuses(path: Path, ranks: Ranks) -> bool:
    try:
        load_checkpoint(path, ranks)
    except ResumeError as error:
        return error.damaged
    return False


def test_a_part_is_read_when_it_is_asked_for(tmp_path: Path) -> None:
    parts = {name: {"a": torch.arange(3.0)} for name in ("model", "table-0")}
    save_checkpoint(Checkpoint(tensors=parts, state={}), tmp_path / "c")
    loaded = load_checkpoint(tmp_path / "c")
    assert sorted(loaded.tensors) == ["model", "table-0"]
    (tmp_path / "c" / "table-0.safetensors").write_bytes(b"gone")
    assert torch.equal(loaded.tensors["model"]["a"], torch.arange(3.0))
    with pytest.raises(ResumeError, match=r"c: the checkpoint is damaged"):
        loaded.tensors["table-0"]
    with pytest.raises(KeyError):
        loaded.tensors["table-1"]


def test_a_folder_that_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ResumeError, match=r"no state\.json.*jobs\.train"):
        load_checkpoint(tmp_path)
