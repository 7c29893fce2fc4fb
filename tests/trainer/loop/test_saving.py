"""Saving: a checkpoint that is written during later steps holds the state of its own; errors and damage are found."""

from __future__ import annotations

import errno
import json
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from schemas.space import NoSpaceError
from tests.packed import packed_directory
from tests.trainer.checkpoint.test_files import sealed
from tests.trainer.loop.test_metrics_log import BY_THE_CLOCK
from tests.trainer.loop.test_session import config, logged_losses, train_session
from tests.trainer.loop.test_trainer import start
from trainer.checkpoint import files
from trainer.checkpoint.background import Background
from trainer.checkpoint.files import STATE_FILE, Checkpoint, save_checkpoint
from trainer.checkpoint.retention import Checkpoints
from trainer.config import TrainConfig
from trainer.encode.policies import Policy
from trainer.loop.session import TrainingSession
from trainer.loop.snapshot import in_host_memory
from trainer.loop.trainer import Trainer

Write = Callable[[Path, str, Any], None]
POLICIES = ("cached", "carried", "accumulated", "once")


def slow_but(policy: Policy) -> list[Any]:
    """All policies; all but one of them only with the slow tests."""
    return [pytest.param(each, marks=() if each == policy else pytest.mark.slow) for each in POLICIES]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return packed_directory(tmp_path / "packed", trajectories=48)


def with_policy(folder: Path, policy: Policy, **run: int) -> TrainConfig:
    chosen = config(folder, keep_checkpoints=9, **run)
    return replace(chosen, planner=replace(chosen.planner, policy=policy, accumulate_steps=4))


def step_of(folder: Path) -> int:
    """The step of the checkpoint that is being written to this folder."""
    return int(folder.name.removeprefix(".step-").removesuffix(".incomplete"))


def contents(out: Path) -> dict[str, Any]:
    """All checkpoints: the bytes of their parts, and their states without what depends on the clock."""
    found: dict[str, Any] = {path.relative_to(out).as_posix(): path.read_bytes() for path in out.rglob("*.safetensors")}
    for path in out.rglob(STATE_FILE):
        state = json.loads(path.read_text())
        del state["state_sha256"]
        log = state["keeping"]["log"]
        for sums in (log["totals"], log["since"]):
            state["keeping"]["log"] |= {"totals": None, "since": None}
            assert sums.keys() & BY_THE_CLOCK
        found[path.relative_to(out).as_posix()] = state
    return found


@pytest.mark.parametrize("policy", slow_but("cached"))
def test_later_steps_do_not_change_what_is_written(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, policy: Policy
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(Background, "start", lambda self, job: job())
        train_session(with_policy(tmp_path, policy), data, tmp_path / "at-once")
    (tmp_path / "late").mkdir()
    trainer = start(with_policy(tmp_path, policy), data)
    session, write, steps_later = TrainingSession(trainer, tmp_path / "late"), files.write_part, []

    def late(folder: Path, part: str, tensors: Any) -> None:
        until = time.monotonic() + 0.4  # where the run waits for this save, no step follows
        while trainer.step < step_of(folder) + 3 and time.monotonic() < until and part == "model":
            time.sleep(0.001)
        steps_later.append(trainer.step - step_of(folder))
        write(folder, part, tensors)

    monkeypatch.setattr(files, "write_part", late)
    session.fit()
    assert max(steps_later) >= 3
    assert contents(tmp_path / "late") == contents(tmp_path / "at-once")
    assert logged_losses(tmp_path / "late") == logged_losses(tmp_path / "at-once")


def full_at(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """From now on the disk is full when the checkpoint of this step is written."""
    write = files.write_part

    def refusing(folder: Path, part: str, tensors: Any) -> None:
        if step_of(folder) == step:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(folder, part, tensors)

    monkeypatch.setattr(files, "write_part", refusing)


@pytest.mark.parametrize(("full", "before"), [(11, 6), (18, 17)], ids=["on its way", "the last"])
def test_a_checkpoint_that_cannot_be_written_ends_the_run_which_resumes_from_the_one_before(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, full: int, before: int
) -> None:
    train_session(with_policy(tmp_path, "cached"), data, tmp_path / "unbroken")
    with monkeypatch.context() as patched:
        full_at(patched, full)
        with pytest.raises(NoSpaceError, match=rf"step-{full:08d}: no space left there: [\d,]+ bytes are needed"):
            train_session(with_policy(tmp_path, "cached"), data, tmp_path / "run")
    checkpoints = Checkpoints(tmp_path / "run" / "checkpoint", keep=9)
    assert checkpoints.steps()[-1] == before
    assert not list(checkpoints.folder.glob(".*"))
    trainer = start(with_policy(tmp_path, "cached"), data)
    session = TrainingSession(trainer, tmp_path / "run")
    assert session.resume() == checkpoints.path_of(before)
    session.fit()
    assert logged_losses(tmp_path / "run") == logged_losses(tmp_path / "unbroken")


def test_a_failed_save_ends_the_run_at_the_next_step(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not only at the next save, which may be hours away."""
    full_at(monkeypatch, 5)
    (tmp_path / "run").mkdir()
    trainer = start(with_policy(tmp_path, "cached"), data)
    session = TrainingSession(trainer, tmp_path / "run")
    started = Background.start
    monkeypatch.setattr(Background, "start", lambda self, job: (started(self, job), ended(self)))
    with pytest.raises(NoSpaceError):
        session.fit()
    assert trainer.step == 6


def ended(background: Background) -> None:
    while background._job is not None and not background._job.done():
        time.sleep(0.001)


def flipped(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


DAMAGE: dict[str, Callable[[Path], object]] = {
    "flipped": lambda file: file.write_bytes(flipped(file.read_bytes())),
    "cut": lambda file: file.write_bytes(file.read_bytes()[:-9]),
    "removed": lambda file: file.unlink(),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_whichever_file_of_the_newest_is_damaged_the_run_resumes_from_the_one_before(
    data: Path, tmp_path: Path, kind: str
) -> None:
    train_session(with_policy(tmp_path, "carried"), data, tmp_path / "run", stop_at=8)
    newest = Checkpoints(tmp_path / "run" / "checkpoint", keep=9).path_of(8)
    names = sorted(path.name for path in newest.iterdir())
    assert len(names) == 7
    trainer = start(with_policy(tmp_path, "carried"), data)
    for name in names:
        out = tmp_path / f"without-{name}"
        shutil.copytree(tmp_path / "run", out)
        DAMAGE[kind](out / "checkpoint" / newest.name / name)
        found = TrainingSession(trainer, out).resume()
        assert found == out / "checkpoint" / "step-00000006", name
        assert trainer.step == 6


def full_tables(trainer: Trainer, folder: Path) -> None:
    """Write the checkpoint of the trainer's state again as format 4 did, with every row."""
    session_state = json.loads((folder / STATE_FILE).read_text())["keeping"]
    table, saved = trainer.table, trainer.checkpoint({"keeping": session_state})
    waiting = {} if table.waiting_VD is None else {"waiting_VD": table.waiting_VD.clone()}
    planner = {name: torch.from_numpy(array) for name, array in trainer._planner_state.copy().arrays().items()}
    parts: dict[str, dict[str, Tensor]] = {
        "table-0": {"vector_VD": table.vector_VD.clone(), **waiting},
        "planner-0": planner,
    }
    save_checkpoint(Checkpoint(tensors={**saved.tensors, **parts}, state=saved.state), folder)
    sealed(folder, format_version=4)


@pytest.mark.parametrize("policy", slow_but("carried"))
def test_a_checkpoint_with_full_tables_resumes_to_the_bit(data: Path, tmp_path: Path, policy: Policy) -> None:
    train_session(with_policy(tmp_path, policy), data, tmp_path / "unbroken")
    trainer, _ = train_session(with_policy(tmp_path, policy), data, tmp_path / "run", stop_at=7)
    newest = Checkpoints(tmp_path / "run" / "checkpoint", keep=9).path_of(7)
    full_tables(trainer, newest)
    _, session = train_session(with_policy(tmp_path, policy), data, tmp_path / "run")
    assert session.summary()["complete"]
    assert session.passed_over == []
    ours, theirs = contents(tmp_path / "run"), contents(tmp_path / "unbroken")
    assert all(ours[name] == content for name, content in theirs.items() if "step-00000018" in name)
    assert logged_losses(tmp_path / "run") == logged_losses(tmp_path / "unbroken")


def test_only_rows_that_may_be_looked_up_are_saved(tmp_path: Path) -> None:
    data, sizes = packed_directory(tmp_path / "many-items", trajectories=48, items=300), {}
    for policy in POLICIES:
        chosen = with_policy(tmp_path, policy)  # type: ignore[arg-type]
        chosen = replace(chosen, planner=replace(chosen.planner, max_age_steps=1))
        trainer, _ = train_session(chosen, data, tmp_path / policy, stop_at=5)
        table = trainer.checkpoint().tensors["table-0"]
        sizes[policy] = len(table["row_R"])
        assert torch.equal(table["vector_RD"], trainer.table.vector_VD[table["row_R"]])
        assert ("waiting_row_Q" in table) == (policy in ("carried", "accumulated"))
        encoded = int((trainer._planner_state.last_encode_V >= 0).sum())
        assert sizes[policy] < encoded
    assert sizes["once"] == 0
    assert sizes["cached"] > 0


def test_copies_in_host_memory_are_independent_and_contiguous() -> None:
    given = torch.arange(12.0).view(3, 4)
    copies = in_host_memory({"a": {"turned": given.T, "part": given[1:, 1]}})["a"]
    expected = {name: tensor.clone() for name, tensor in (("turned", given.T), ("part", given[1:, 1]))}
    given.zero_()
    for name, tensor in copies.items():
        assert torch.equal(tensor, expected[name])
        assert tensor.is_contiguous()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_copies_from_a_gpu_are_pinned_and_complete() -> None:
    given = {
        "a": torch.randn(1 << 24, device="cuda"),
        "b": torch.randn(64, 64, device="cuda").T,
        "c": torch.zeros(0, 8),
    }
    expected = {name: tensor.cpu() for name, tensor in given.items()}
    copies = in_host_memory({"part": given})["part"]
    given["a"].zero_()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in copies.items())
    assert copies["a"].is_pinned()
