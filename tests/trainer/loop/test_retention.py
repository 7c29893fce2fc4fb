"""Retention: what is kept, what is found, what a killed process leaves."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from trainer.loop.checkpoint import Checkpoint, ResumeError
from trainer.loop.retention import Best, Checkpoints, chosen, load_chosen


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
    assert load_chosen(tmp_path / "c").state["position"]["step"] == 100
    assert Checkpoints(tmp_path / "none", keep=2).newest() is None


def test_the_best_is_kept_and_chosen_but_a_run_goes_on_from_the_newest(tmp_path: Path) -> None:
    checkpoints = filled(tmp_path, 1)
    checkpoints.mark_best(Best(step=1, auc=0.7))
    for step in (2, 3, 4):
        checkpoints.save(at(step), step=step)
    assert checkpoints.steps() == [1, 3, 4]
    assert checkpoints.best() == Best(step=1, auc=0.7)
    assert load_chosen(tmp_path).state["position"]["step"] == 1
    assert checkpoints.newest() == checkpoints.path_of(4)
    assert chosen(checkpoints.path_of(3)) == checkpoints.path_of(3)
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
    assert chosen(tmp_path) == checkpoints.path_of(5)


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
    for use in (lambda: chosen(tmp_path), Checkpoints(tmp_path, keep=1).sweep):
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
        load_chosen(tmp_path)
