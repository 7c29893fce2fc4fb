"""Retention: which checkpoints are kept and found, also after a killed process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.conftest import REPOSITORY
from trainer.checkpoint.files import STATE_FILE, Checkpoint, ResumeError, load_checkpoint
from trainer.checkpoint.retention import Best, Checkpoints, load_resolved_checkpoint, resolve_checkpoint, run_folder_of


def at(step: int) -> Checkpoint:
    return Checkpoint(tensors={"model": {"a": torch.tensor([float(step)])}}, state={"position": {"step": step}})


def filled(folder: Path, *steps: int, keep: int = 2) -> Checkpoints:
    checkpoints = Checkpoints(folder, keep=keep)
    for step in steps:
        checkpoints.save(at(step), step=step)
    return checkpoints


def test_the_newest_few_are_kept(tmp_path: Path) -> None:
    checkpoints = filled(tmp_path / "c", 9, 10, 100)
    assert checkpoints.steps() == [10, 100]
    assert checkpoints.newest() == tmp_path / "c" / "step-00000100"
    assert load_resolved_checkpoint(tmp_path / "c").state["position"]["step"] == 100
    assert Checkpoints(tmp_path / "none", keep=2).newest() is None


def test_the_best_is_kept_and_chosen_but_a_run_resumes_from_the_newest(tmp_path: Path) -> None:
    checkpoints = filled(tmp_path, 1)
    checkpoints.mark_best(Best(step=1, auc=0.7))
    for step in (2, 3, 4):
        checkpoints.save(at(step), step=step)
    assert checkpoints.steps() == [1, 3, 4]
    assert checkpoints.best() == Best(step=1, auc=0.7)
    assert load_resolved_checkpoint(tmp_path).state["position"]["step"] == 1
    assert checkpoints.newest() == checkpoints.path_of(4)
    assert resolve_checkpoint(checkpoints.path_of(3)) == checkpoints.path_of(3)
    checkpoints.mark_best(Best(step=4, auc=0.8))
    assert checkpoints.steps() == [3, 4]


def test_what_a_killed_process_left_is_not_found_and_swept(tmp_path: Path) -> None:
    checkpoints = filled(tmp_path, 5)
    for name in ("step-00000006", ".step-00000006.77.incomplete", ".step-00000005.77.replaced"):
        (tmp_path / name).mkdir()
    (tmp_path / "notes.txt").write_text("mine")
    assert checkpoints.steps() == [5]
    checkpoints.sweep()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["notes.txt", "step-00000005"]


def test_a_best_that_is_gone_is_not_chosen(tmp_path: Path) -> None:
    checkpoints = filled(tmp_path, 5)
    checkpoints.mark_best(Best(step=3, auc=0.9))
    assert checkpoints.best() is None
    assert resolve_checkpoint(tmp_path) == checkpoints.path_of(5)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff",
        b'{"step": 5}',
        b'{"step": "5", "auc": 0.5}',
        b'{"step": 5, "auc": null}',
        b"[" * 100_000,
    ],
    ids=range(9),
)
def test_a_best_that_is_damaged_is_named_and_nothing_is_removed(tmp_path: Path, content: bytes) -> None:
    checkpoints = filled(tmp_path, 5, 6)
    (tmp_path / "best.json").write_bytes(content)
    for use in (lambda: resolve_checkpoint(tmp_path), Checkpoints(tmp_path, keep=1).sweep):
        with pytest.raises(ResumeError, match=r"best\.json[:,] .*\. Remove it"):
            use()
    assert checkpoints.steps() == [5, 6]


def test_other_names_and_links_are_neither_found_nor_followed(tmp_path: Path) -> None:
    elsewhere = filled(tmp_path / "elsewhere", 9)
    checkpoints = filled(tmp_path / "c", 5)
    for name in ("step-7", "step-٠٠٠٠٠٠٠٨", f"step-{'9' * 5000}"[:200], "step-00000010"):
        (tmp_path / "c" / name).symlink_to(elsewhere.path_of(9))
    assert checkpoints.steps() == [5, 10]
    checkpoints.save(at(11), step=11)
    checkpoints.save(at(12), step=12)
    assert checkpoints.steps() == [10, 11, 12]  # a link is not removed, nor what it points at
    assert elsewhere.steps() == [9]


def test_a_folder_without_a_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ResumeError, match="this is no checkpoint"):
        load_resolved_checkpoint(tmp_path)


KILLED_ANYWHERE = """
import os, sys
from pathlib import Path
from tests.trainer.checkpoint.test_retention import at, filled
from trainer.checkpoint.retention import Checkpoints, load_resolved_checkpoint

TOUCHED = ("open", "os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.scandir", "shutil.rmtree")
folder, left, kills = Path(sys.argv[1]), -1, 0
filled(folder, 5, keep=1)

def killed_at(event):
    def hook(name, _):
        nonlocal event
        event -= name in TOUCHED
        if event < 0:
            os._exit(9)
    return hook

for step in (5, 5, 6):  # replaced, replaced after all that was left, and followed by another
    for event in range(1000):
        child = os.fork()
        if not child:
            sys.addaudithook(killed_at(event))
            Checkpoints(folder, keep=1).save(at(100 * step + event), step=step)
            os._exit(0)
        ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        found = load_resolved_checkpoint(folder).state["position"]["step"]
        assert found in (left, 5, 100 * step + event), (step, event, found)
        left = found
        if not ended:
            break
        assert ended == 9
        kills += 1
    assert found == 100 * step + event
    assert [path.name for path in folder.iterdir()] == [f"step-{step:08d}"]
print(kills)
"""


def test_killed_at_any_moment_of_a_save_one_checkpoint_is_complete(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", KILLED_ANYWHERE, str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 60


def test_what_was_set_aside_is_found_and_gets_its_name_back(tmp_path: Path) -> None:
    checkpoints = filled(tmp_path, 4, 5)
    checkpoints.path_of(5).rename(tmp_path / ".step-00000005.replaced")
    assert checkpoints.steps() == [4, 5]
    assert load_resolved_checkpoint(tmp_path).state["position"]["step"] == 5
    assert load_checkpoint(checkpoints.path_of(5)).state["position"]["step"] == 5
    checkpoints.sweep()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000004", "step-00000005"]


def test_a_checkpoint_is_on_the_disk_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    synced, renamed = os.fsync, os.rename

    def fsync(file: int) -> None:
        done.append(Path(os.readlink(f"/proc/self/fd/{file}")).name)
        synced(file)

    def rename(source: Path, target: Path) -> None:
        done.append(f"{source.name} is {target.name}")
        renamed(source, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "rename", rename)
    Checkpoints(tmp_path / "c", keep=1).save(at(5), step=5)
    partial = ".step-00000005.incomplete"
    assert done == ["model.safetensors", STATE_FILE, partial, f"{partial} is step-00000005", "c"]


def damage(checkpoints: Checkpoints, step: int) -> None:
    file = checkpoints.path_of(step) / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1])


def test_a_damaged_checkpoint_is_passed_over_by_name_and_set_aside(tmp_path: Path) -> None:
    checkpoints = filled(tmp_path, 4, 5, 6, keep=3)
    damage(checkpoints, 5)
    damage(checkpoints, 6)
    found, passed = checkpoints.newest_intact()
    assert found is not None
    assert found.state["position"]["step"] == 4
    assert [why.partition(": the checkpoint is damaged")[0] for why in passed] == [
        str(checkpoints.path_of(6)),
        str(checkpoints.path_of(5)),
    ]
    names = ["step-00000004", "step-00000005.damaged", "step-00000006.damaged"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    checkpoints.save(at(5), step=5)
    assert checkpoints.steps() == [4, 5]


def test_if_all_are_damaged_each_is_named_and_nothing_is_touched(tmp_path: Path) -> None:
    checkpoints = filled(tmp_path, 4, 5)
    damage(checkpoints, 4)
    damage(checkpoints, 5)
    with pytest.raises(ResumeError, match=r"no checkpoint .*step-00000005: .*step-00000004: .*remove .* another --out"):
        checkpoints.newest_intact()
    assert checkpoints.steps() == [4, 5]


def test_what_the_machine_refuses_is_no_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoints = filled(tmp_path, 4, 5)
    for error, message in (
        (PermissionError(13, "Permission denied"), "cannot be read .*Permission denied"),
        (OSError(24, "Too many open files"), "cannot be read .*Too many open files"),
        (OSError(5, "Input/output error"), "cannot be read .*Input/output error"),
        (MemoryError(), "memory does not suffice"),
        (torch.OutOfMemoryError("full"), "memory does not suffice"),
    ):

        def refuse(*_: object, error: BaseException = error) -> None:
            raise error

        monkeypatch.setattr("trainer.checkpoint.files.check_part", refuse)
        with pytest.raises(ResumeError, match=f"step-00000005: .*{message}") as refused:
            checkpoints.newest_intact()
        assert not refused.value.damaged
    assert checkpoints.steps() == [4, 5]


def test_a_checkpoint_knows_the_run_that_wrote_it_only_in_its_folder(tmp_path: Path) -> None:
    checkpoint = filled(tmp_path / "run" / "checkpoint", 5).path_of(5)
    assert run_folder_of(checkpoint) is None
    (tmp_path / "run" / "config.json").write_text("{}")
    assert run_folder_of(checkpoint) == tmp_path / "run"
    checkpoint.rename(tmp_path / "run" / "step-00000005")
    assert run_folder_of(tmp_path / "run" / "step-00000005") is None
